"""What a killed training run needs to go on as if nothing had happened."""

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, read_json
from tfvae.fitting.callbacks import BestWeights

STATE = "state.json"
WEIGHTS = "weights.npz"
BEST_WEIGHTS = "best_weights.npz"
MANIFEST = "manifest.json"

_STATE_OF_BEST_WEIGHTS = ("best", "best_epoch", "wait", "stopped_epoch", "stop_reason")


class Backup(keras.callbacks.Callback):
    """Backs up the whole state of training after each epoch, and restores the last backup.

    That is: the variables of the model and the optimizer, with the step and the state of the
    noise; the logs of all epochs; what `BestWeights` knows. A manifest holds the checksums of these
    files and of the settings. The folder of an epoch appears whole or not at all, and the one
    before it stays, so that there is a backup to go on from whatever happens. One that is damaged
    is not used, and neither is one of other settings. An epoch that was interrupted is not backed
    up.

    List it as the last callback, so that the logs are complete and early stopping has decided, and
    give `fit` its `initial_epoch`.

    Args:
        folder: Where the backups lie.
        best_weights: The callback whose state is part of the training's, if there is one.
        settings: What a training must have in common with the backup that it goes on from.
        writes: Whether this process writes; of several workers, only the chief does.

    Attributes:
        initial_epoch: The number of epochs that the last backup holds, 0 if there is none.
        num_epochs: How many there were to be.
        history: The logs by name, one value per epoch, those before the kill included.
        is_over: Whether training had ended when the last backup was written.
        damage: Which later backups are damaged, and how.

    Raises:
        InputError: If all backups are damaged, or the last one is of other settings.
    """

    def __init__(
        self,
        folder: Path,
        best_weights: BestWeights | None = None,
        *,
        settings: str = "",
        writes: bool = True,
    ):
        super().__init__()
        self.folder = folder
        self.best_weights = best_weights
        self.writes = writes
        self._settings = hashlib.sha256(settings.encode()).hexdigest()
        self.damage: list[str] = []
        self._last = self._find_last()
        state = read_json(self._last / STATE) if self._last else {}
        self.history: dict[str, list[float]] = state.get("history", {})
        self.initial_epoch: int = state.get("epoch", 0)
        self.num_epochs: int = state.get("num_epochs", 0)
        self.is_over: bool = state.get("is_over", False)
        self._best: dict[str, Any] = state.get("best", {})
        self._began = time.perf_counter() - state.get("seconds", 0.0)

    def _find_last(self):
        for backup in sorted(self.folder.glob("epoch-*"), reverse=True):
            try:
                manifest = read_json(backup / MANIFEST)
                files = {name: _digest(backup / name) for name in manifest["files"]}
                if files != manifest["files"]:
                    raise InputError("a file is not what was written")
            except (InputError, KeyError, TypeError, OSError) as error:
                self.damage.append(f"{backup} ({error})")
                continue
            if manifest.get("settings") != self._settings:
                raise InputError(f"the backup {backup} is of a run with other settings")
            return backup
        if self.damage:
            raise InputError(f"all backups are damaged: {', '.join(self.damage)}: start a new run")
        return None

    @property
    def seconds(self) -> float:
        """How long training has taken, without what a killed run did after its last backup."""
        return time.perf_counter() - self._began

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the last backup; refuses one of another model."""
        if self._last is None:
            return
        arrays, variables = read_arrays(self._last / WEIGHTS), self._variables()
        if [array.shape for array in arrays] != [tuple(each.shape) for each in variables]:
            raise InputError(f"the backup {self._last} belongs to another model")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        if self.best_weights:
            for name, value in self._best.items():
                setattr(self.best_weights, name, value)
            if (self._last / BEST_WEIGHTS).is_file():
                self.best_weights.best_weights = read_arrays(self._last / BEST_WEIGHTS)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a backup, and removes all but the one before."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        best = self.best_weights
        if not self.writes or (best and best.stop_reason == "interrupted"):
            return
        self._last = self.folder / f"epoch-{epoch + 1:06d}"
        self.initial_epoch = epoch + 1
        shutil.rmtree(self._last, ignore_errors=True)  # A damaged one.
        with atomic_write(self._last) as folder:
            folder.mkdir()
            np.savez(folder / WEIGHTS, *map(keras.ops.convert_to_numpy, self._variables()))
            state = {
                "epoch": epoch + 1,
                "num_epochs": self.params["epochs"],
                "is_over": bool(self.model.stop_training),
                "history": self.history,
                "seconds": self.seconds,
            }
            if best:
                state["best"] = {name: getattr(best, name) for name in _STATE_OF_BEST_WEIGHTS}
                # Ctrl-C may have been pressed since the epoch ended.
                if best.stop_reason == "interrupted":
                    state["is_over"] = state["best"]["stop_reason"] = None
                if best.best_weights is not None:
                    np.savez(folder / BEST_WEIGHTS, *best.best_weights)
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
            files = {file.name: _digest(file) for file in folder.iterdir()}
            manifest = {"settings": self._settings, "files": files}
            (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        for older in sorted(self.folder.glob("epoch-*"))[:-2]:
            shutil.rmtree(older)

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]


def _digest(file):
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_arrays(file: Path) -> list[np.ndarray]:
    """The arrays of a .npz file, in the order in which they were written."""
    with np.load(file) as arrays:
        return list(arrays.values())
