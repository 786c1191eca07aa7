"""What a killed training run needs to go on as if nothing had happened."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.fitting.callbacks import BestWeights

STATE = "state.json"
BEST_WEIGHTS = "best_weights.npz"

_STATE_OF_BEST_WEIGHTS = ("best", "best_epoch", "wait", "stopped_epoch", "stop_reason")


class Backup(keras.callbacks.Callback):
    """Backs up the whole state of training after each epoch, and restores the last backup.

    Keras's `BackupAndRestore` writes the weights, the optimizer with its step, the state of the
    noise, and the number of the epoch. Beside these lie the logs of all epochs and what
    `BestWeights` knows. The folder of an epoch appears whole or not at all, so that there is a
    backup to go on from at whatever moment the process is killed.

    List it as the last callback, so that the logs are complete and early stopping has decided.

    Args:
        folder: Where the backups lie; the last one stays until `remove` is called.
        best_weights: The callback whose state is part of the training's, if there is one.
        writes: Whether this process writes; of several workers, only the chief does.

    Attributes:
        initial_epoch: The number of epochs that the last backup holds, 0 if there is none.
        history: The logs by name, one value per epoch, those before the kill included.
        is_over: Whether training had ended when the last backup was written.
    """

    def __init__(
        self, folder: Path, best_weights: BestWeights | None = None, *, writes: bool = True
    ):
        super().__init__()
        self.folder = folder
        self.best_weights = best_weights
        self.writes = writes
        self._last = max(folder.glob("epoch-*"), default=None)
        state = json.loads((self._last / STATE).read_text("utf-8")) if self._last else {}
        self.history: dict[str, list[float]] = state.get("history", {})
        self.initial_epoch: int = state.get("epoch", 0)
        self.is_over: bool = state.get("is_over", False)
        self._best: dict[str, Any] = state.get("best", {})
        self._began = time.perf_counter() - state.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """How long training has taken, without what a killed run did after its last backup."""
        return time.perf_counter() - self._began

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the last backup; refuses one of another model."""
        if self._last is None:
            return
        try:
            self._keras_backup(self._last).on_train_begin()
        except ValueError as error:
            raise InputError(
                f"the backup {self._last} belongs to another model: {str(error).splitlines()[0]}"
            ) from error
        if self.best_weights:
            for name, value in self._best.items():
                setattr(self.best_weights, name, value)
            file = self._last / BEST_WEIGHTS
            if file.is_file():
                with np.load(file) as arrays:
                    self.best_weights.best_weights = list(arrays.values())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a backup, and removes the one before."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if not self.writes:
            return
        with atomic_write(self.folder / f"epoch-{epoch + 1:06d}") as folder:
            self._keras_backup(folder).on_epoch_end(epoch)
            state = {
                "epoch": epoch + 1,
                "is_over": bool(self.model.stop_training),
                "history": self.history,
                "seconds": self.seconds,
            }
            if self.best_weights:
                best = self.best_weights
                state["best"] = {name: getattr(best, name) for name in _STATE_OF_BEST_WEIGHTS}
                if best.best_weights is not None:
                    np.savez(folder / BEST_WEIGHTS, *best.best_weights)
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        for older in sorted(self.folder.glob("epoch-*"))[:-1]:
            shutil.rmtree(older)

    def remove(self) -> None:
        """Removes all backups, once there is nothing left to go on with."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _keras_backup(self, folder: Path) -> keras.callbacks.BackupAndRestore:
        callback = keras.callbacks.BackupAndRestore(str(folder))
        callback.set_model(self.model)
        return callback
