"""The folder of a training run: what lies in it, and how it is found again."""

import csv
import dataclasses
import json
import os
import shutil
import zipfile
from pathlib import Path

import keras

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.training.settings import TrainingSettings
from tfvae.vae import VAE

MODEL = "model.keras"
SETTINGS = "settings.json"
HISTORY = "history.csv"
RESULTS = "results.json"
TENSORBOARD = "tensorboard"
BACKUP = "backup"
EVALUATION = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """On what a run will be evaluated when its training ends.

    Attributes:
        split: Whose images the numbers and figures are of.
        num_importance_samples: Latents per image for log p(x); None for what its settings say.
    """

    split: str = "test"
    num_importance_samples: int | None = None


def new_folder(path: str | os.PathLike | None, name: str) -> Path:
    """Makes the folder of a new run.

    Args:
        path: Where; None for the next free `runs/<name>-<number>`.
        name: Of the recipe or the data set.

    Returns:
        The folder, which exists and is empty.

    Raises:
        InputError: If there is a file, or a folder that is not empty, or no permission.
    """
    if path is None:
        stem = name.replace("/", "-").replace(":", "-")
        number = 1
        while True:
            folder = Path("runs", f"{stem}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                number += 1
            except OSError as error:
                raise InputError(f"cannot make the output {folder}: {error.strerror}") from error
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"the output {folder} must be a folder; there is a file") from error
    except OSError as error:
        raise InputError(f"cannot make the output {folder}: {error.strerror}") from error
    if any(folder.iterdir()):
        raise InputError(
            f"the output folder {folder} is not empty, and nothing is overwritten: choose another "
            "with --output, or remove it"
        )
    return folder


def unfinished_folder(path: str | os.PathLike) -> tuple[Path, TrainingSettings]:
    """The folder of a run that was killed, without what a killed writer leaves.

    Args:
        path: The folder.

    Returns:
        The folder, and the settings of the run.

    Raises:
        InputError: If there is no such run, or it has ended.
    """
    folder = Path(path)
    if not (folder / SETTINGS).is_file():
        raise InputError(
            f"there is no run to resume in {folder}: give the folder of a training run, where its "
            f"{SETTINGS} lies"
        )
    if (folder / RESULTS).is_file() and not (folder / BACKUP).is_dir():
        raise InputError(f"the run in {folder} has ended: there is nothing to resume")
    return folder, TrainingSettings.of_run(folder / SETTINGS)


def remove_half_written(folder: Path) -> None:
    """Removes the hidden folders that `atomic_write` leaves where it was killed.

    Args:
        folder: The folder of a run that nobody is writing to.
    """
    for hidden in [*folder.glob(".*"), *(folder / BACKUP).glob(".*")]:
        if hidden.is_dir():
            shutil.rmtree(hidden, ignore_errors=True)


def load_vae(path: str | os.PathLike) -> VAE:
    """Loads a saved VAE; no code of the file is run.

    Args:
        path: A `.keras` file, or the folder of a run.

    Returns:
        The model, compiled if it was saved compiled.

    Raises:
        InputError: If there is no such file, or it is no VAE, damaged, or would run code.
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
        model = keras.saving.load_model(file, safe_mode=True)
    # Keras raises whatever the part it stumbled over raises.
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(f"{file} cannot be loaded as a Keras model: {reason}") from error
    if not isinstance(model, VAE):
        raise InputError(f"{file} holds a {type(model).__name__}, not a tfvae.VAE")
    return model


def settings_beside(path: str | os.PathLike) -> TrainingSettings | None:
    """The settings of the run that a model belongs to, None where there are none.

    Args:
        path: A `.keras` file, or the folder of a run.
    """
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / SETTINGS
    return TrainingSettings.of_run(file) if file.is_file() else None


def remove_unfinished(folder: Path) -> None:
    """Removes what a run that learned nothing has left: its settings, and the folder.

    Args:
        folder: One that `new_folder` gave.
    """
    for file in (SETTINGS, EVALUATION):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def write_text(file: Path, text: str) -> None:
    """Writes a text file whole."""
    with atomic_write(file) as path:
        path.write_text(text, encoding="utf-8")


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Writes down on what a run will be evaluated, for those who resume it."""
    write_text(folder / EVALUATION, json.dumps(dataclasses.asdict(evaluation), indent=2) + "\n")


def read_evaluation(folder: Path) -> Evaluation:
    """On what a run that was killed was to be evaluated.

    Raises:
        InputError: If the file that says so is damaged.
    """
    file = folder / EVALUATION
    if not file.is_file():
        return Evaluation()
    try:
        return Evaluation(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}") from error


def write_history(file: Path, history: dict[str, list[float]]) -> None:
    """Writes the logs of a training, a line an epoch, counted from 1.

    Args:
        file: The CSV file.
        history: The logs by name, a value an epoch.
    """
    with atomic_write(file) as path, path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["epoch", *history])
        for epoch, row in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *row])


def read_history(file: Path) -> dict[str, list[float]]:
    """The logs of a training by name, with `epoch`, from its CSV file.

    Raises:
        InputError: If the file is not such a table.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (TypeError, ValueError) as error:
        raise InputError(f"{file} is not a table of numbers: {error}") from error
