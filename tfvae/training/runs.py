"""The folder of a training run: what lies in it, and how it is found again."""

import contextlib
import csv
import hashlib
import itertools
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.common.errors import InputError
from tfvae.common.files import (
    LOCK,
    atomic_write,
    check_output_folder,
    locked,
    read_json,
    remove_half_written,
    write_json,
    write_text,
)
from tfvae.training.settings import EVALUATION, MACHINE, TrainingSettings

if TYPE_CHECKING:
    from tfvae.vae import VAE

RUN = "run.json"
"""Says that a folder is that of a run, and whether it has ended."""

MODEL = "model.keras"
SETTINGS = "settings.json"
HISTORY = "history.csv"
RESULTS = "results.json"
TENSORBOARD = "tensorboard"
BACKUP = "backup"
SAVED_MODEL = "saved_model"
NAMES = (RUN, MODEL, SETTINGS, HISTORY, RESULTS, TENSORBOARD, BACKUP, SAVED_MODEL, LOCK)


@contextlib.contextmanager
def folder_of_run(
    path: Path | None,
    resumed: Path | None,
    settings: TrainingSettings,
    *,
    is_chief: bool,
    json: Path | None = None,
) -> Iterator[Path]:
    """Gives the folder of a new or a resumed run to one process alone.

    Of a new run that learned nothing, nothing stays; what was there before always does. `json` is
    where the numbers shall go, too: not where the run has a file of its own.
    """
    if not is_chief:
        # What the chief writes is all there is to keep.
        with tempfile.TemporaryDirectory(prefix="tfvae-worker-") as folder:
            yield Path(folder)
        return
    folder = resumed or new_folder(path, settings.recipe or settings.dataset)
    with locked(folder, "another process trains"):
        if resumed is None:
            check_output_folder(folder)
        else:
            check_resumable(folder, settings)
            remove_half_written(folder)
        try:
            _check_beside(json, folder)
            yield folder
        except BaseException as error:
            if any((folder / BACKUP).glob("epoch-*")):
                if isinstance(error, KeyboardInterrupt | OSError):
                    error.add_note(f"`tfvae train --resume {folder}` goes on")
            elif resumed is None and not (folder / MODEL).exists():
                _remove_begun(folder)
            raise


def new_folder(path: Path | None, name: str) -> Path:
    """The empty folder of a new run: `path` or, if None, the next free `runs/NAME-NUMBER`."""
    if path is not None:
        check_output_folder(path)
        return path
    for number in itertools.count(1):
        folder = Path("runs", f"{name.replace('/', '-').replace(':', '-')}-{number}")
        # Whether it exists is not asked before: another run may be started at the same time.
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder


def _check_beside(file: Path | None, folder: Path) -> None:
    """Refuses an output that would take the place of a file of the run."""
    if file is None:
        return
    place = os.path.relpath(os.path.realpath(file), os.path.realpath(folder))
    name = (*Path(place).parts, "")[0]
    if name in ("", *NAMES) or name.endswith(".png"):
        raise InputError(f"{file} is a place of the run's own in {folder}: choose another")


def _remove_begun(folder: Path) -> None:
    """Removes what a new run has made before it learned anything."""
    for name in (SETTINGS, RUN, LOCK):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    for emptied in (folder / BACKUP, folder):
        with contextlib.suppress(OSError):  # What others have put there stays.
            emptied.rmdir()


def begin(folder: Path, settings: TrainingSettings) -> None:
    """Writes the settings of a run that now begins or goes on, and that it has not ended."""
    text = settings.to_json()
    # Those that were there before are right until the others are there.
    known = read_json(folder / RUN)["settings"] if (folder / RUN).is_file() else []
    digests = dict.fromkeys([*known, hashlib.sha256(text.encode()).hexdigest()])
    write_json(folder / RUN, {"has_ended": False, "settings": list(digests)})
    write_text(folder / SETTINGS, text)


def end(folder: Path) -> None:
    """Writes that a run has ended."""
    write_json(folder / RUN, {**read_json(folder / RUN), "has_ended": True})


def check_resumable(folder: Path, settings: TrainingSettings) -> None:
    """Refuses to resume what is no run or one that has ended, or with settings of another run."""
    run = read_run(folder)
    begun = TrainingSettings.of_run(folder / SETTINGS)
    # It may go on with other devices, be evaluated otherwise, and be trained for longer.
    free = TrainingSettings.under(MACHINE, EVALUATION)
    is_longer = (settings.epochs or 0) > (begun.epochs or 0)
    different = [
        f"{name} is {value!r} there and {getattr(settings, name)!r} here"
        for name, value in begun
        if getattr(settings, name) != value
        and name not in free
        and not (name == "epochs" and is_longer)
    ]
    if different:
        raise InputError(
            f"the run in {folder} is another one: {', '.join(different)}. Leave these out to "
            "resume it, or leave --resume out for a new run"
        )
    if run["has_ended"] and not (is_longer and (folder / BACKUP).is_dir()):
        raise InputError(
            f"the run in {folder} has ended: there is nothing to resume. With its {BACKUP} folder, "
            f"--epochs with more than its {begun.epochs} trains on"
        )


def read_run(folder: Path) -> dict[str, Any]:
    """What the folder of a run says of it; refuses what is none, and settings that were changed."""
    if not (folder / RUN).is_file() or not (folder / SETTINGS).is_file():
        raise InputError(
            f"there is no training run in {folder}, where its {RUN} and {SETTINGS} would lie: give "
            "the folder that `tfvae train` has named"
        )
    run = read_json(folder / RUN)
    if run.keys() != {"has_ended", "settings"} or not isinstance(run["settings"], list):
        raise InputError(f"{folder / RUN} is damaged: start a new run")
    digest = hashlib.sha256((folder / SETTINGS).read_bytes()).hexdigest()
    if digest not in run["settings"]:
        raise InputError(
            f"{folder / SETTINGS} is not what the run has written: put that back, or start a new "
            "run with --config"
        )
    return run


def load_vae(path: str | os.PathLike, *, compiled: bool = True) -> "VAE":
    """Loads a saved VAE from a `.keras` file or the folder of a run; no code of the file is run.

    It is compiled if it was saved so, unless `compiled` is false: then it has no optimizer.
    """
    # Here, so that a run is looked at before TensorFlow is loaded.
    import keras

    from tfvae.vae import VAE

    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"there is no model at {file}: give a .keras file or the folder of a training run"
        )
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file} is not a .keras file, or was cut off while it was copied")
    try:
        model = keras.saving.load_model(file, compile=compiled, safe_mode=True)
    # Keras raises whatever the part it stumbled over raises.
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(f"{file} cannot be loaded as a Keras model: {reason}") from error
    if not isinstance(model, VAE):
        raise InputError(f"{file} holds a {type(model).__name__}, not a tfvae.VAE")
    return model


def settings_beside(path: str | os.PathLike) -> TrainingSettings | None:
    """The settings of the run that a `.keras` file or a folder belongs to, None if it has none."""
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / SETTINGS
    return TrainingSettings.of_run(file) if file.is_file() else None


def write_history(file: Path, history: dict[str, list[float]]) -> None:
    """Writes the logs of a training, a value of each per epoch, as a CSV file with `epoch`."""
    with atomic_write(file) as path, path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *row])


def read_history(file: Path) -> dict[str, list[float]]:
    """The logs of a training by name, with `epoch`, counted from 1."""
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{file} is not a table of numbers: {error}") from error
