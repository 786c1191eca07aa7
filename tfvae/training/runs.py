"""The folder of a training run: what lies in it, and how it is found again."""

import contextlib
import csv
import itertools
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, check_output_folder
from tfvae.training.settings import EVALUATION, MACHINE, TrainingSettings
from tfvae.vae import VAE

MODEL = "model.keras"
SETTINGS = "settings.json"
HISTORY = "history.csv"
RESULTS = "results.json"
TENSORBOARD = "tensorboard"
BACKUP = "backup"


@contextlib.contextmanager
def folder_of_run(
    path: Path | None, resumed: Path | None, settings: TrainingSettings, *, is_chief: bool
) -> Iterator[Path]:
    """Gives the folder of a new or a resumed run, where nothing stays if nothing was learned."""
    if not is_chief:
        # What the chief writes is all there is to keep.
        with tempfile.TemporaryDirectory(prefix="tfvae-worker-") as folder:
            yield Path(folder)
        return
    folder = resumed or new_folder(path, settings.recipe or settings.dataset)
    remove_half_written(folder)
    try:
        yield folder
    except BaseException:
        if not (folder / MODEL).exists() and not (folder / BACKUP).exists():
            remove_unfinished(folder)
        raise


def new_folder(path: Path | None, name: str) -> Path:
    """Makes an empty folder for a new run: `path` or, if None, the next free `runs/NAME-NUMBER`."""
    if path is not None:
        check_output_folder(path)
        path.mkdir(parents=True, exist_ok=True)
        return path
    for number in itertools.count(1):
        folder = Path("runs", f"{name.replace('/', '-').replace(':', '-')}-{number}")
        # Whether it exists is not asked before: another run may be started at the same time.
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder


def unfinished_folder(path: str | os.PathLike) -> tuple[Path, TrainingSettings]:
    """The folder of a run that was killed, and the settings of the run."""
    folder = Path(path)
    if not (folder / SETTINGS).is_file():
        raise InputError(
            f"there is no run to resume in {folder}: give the folder of a training run, where its "
            f"{SETTINGS} lies"
        )
    if (folder / RESULTS).is_file() and not (folder / BACKUP).is_dir():
        raise InputError(f"the run in {folder} has ended: there is nothing to resume")
    return folder, TrainingSettings.of_run(folder / SETTINGS)


def check_same_run(path: Path, settings: TrainingSettings) -> None:
    """Refuses to resume a run with other settings than its own."""
    folder, begun = unfinished_folder(path)
    # It may go on with other devices, and be evaluated otherwise.
    free = TrainingSettings.under(MACHINE, EVALUATION)
    different = [
        f"{name} is {value!r} there and {getattr(settings, name)!r} here"
        for name, value in begun
        if name not in free and getattr(settings, name) != value
    ]
    if different:
        raise InputError(
            f"the run in {folder} is another one: {', '.join(different)}. Leave these out to "
            "resume it, or leave --resume out for a new run"
        )


def remove_half_written(folder: Path) -> None:
    """Removes the hidden folders of files that a killed run was writing."""
    for hidden in [*folder.glob(".*"), *(folder / BACKUP).glob(".*")]:
        if hidden.is_dir():
            shutil.rmtree(hidden, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what a run that learned nothing has left: its settings, and its folder if empty."""
    (folder / SETTINGS).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    with contextlib.suppress(OSError):  # What others have put there stays.
        folder.rmdir()


def load_vae(path: str | os.PathLike, *, compiled: bool = True) -> VAE:
    """Loads a saved VAE from a `.keras` file or the folder of a run; no code of the file is run.

    It is compiled if it was saved so, unless `compiled` is false: then it has no optimizer.
    """
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
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError) as error:
        raise InputError(f"{file} is not a table of numbers: {error}") from error
