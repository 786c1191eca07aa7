"""The numbered versions of a served model: each appears whole, and none is ever changed."""

import os
from collections.abc import Callable
from pathlib import Path

from tfvae.common.checks import LARGEST_INTEGER, check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import LOCK, atomic_write, locked, remove_folder, remove_half_written

# Exports into one folder write one after the other. Only one that hangs takes longer.
_SECONDS_TO_WAIT = 600.0


def versions(folder: str | os.PathLike) -> dict[int, Path]:
    """The folder of each version of a model by its number, ascending, as the server sees them.

    The folder of the model need not exist. `InputError` if it is a file or a SavedModel itself, or
    holds a SavedModel in a folder whose name is no number of a version.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for the versions of the model")
    if _is_saved_model(folder):
        raise InputError(
            f"{folder} is a SavedModel itself: give the folder above, in which the versions lie"
        )
    found = {}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name.startswith(".") or not _is_saved_model(path):
            continue
        number = _number(path)
        if number is None:
            raise InputError(
                f"{path} holds a SavedModel, but its name is not a number from 0 to 2**63 - 1, so "
                "that it is no version: rename it to a version number or move it away"
            )
        found[number] = path
    return dict(sorted(found.items()))


def _is_saved_model(path):
    return (path / "saved_model.pb").exists()


def _number(path):
    """The number of a version, None if the name is none: too large, or with a zero in front."""
    is_number = path.name.isascii() and path.name.isdigit() and int(path.name) <= LARGEST_INTEGER
    return int(path.name) if is_number and str(int(path.name)) == path.name else None


def add_version(folder: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Adds a version, which appears when it is complete, and returns its path.

    `write` is called with the path, not yet existing, of a folder in a hidden one, so that a server
    polling the model's folder never sees half of a version. Several processes write one after the
    other. What a killed one has left is removed; when `write` raises, nothing is left.
    """
    folder = Path(folder)
    _next_version(folder)
    is_new = not folder.exists()
    try:
        with locked(folder, "another export is writing", seconds=_SECONDS_TO_WAIT):
            # A model or a card may be written beside the versions meanwhile.
            remove_half_written(folder, names="[0-9]*")
            version = _next_version(folder)
            with atomic_write(version) as beside:
                write(beside)
        return version
    finally:
        if is_new and [*folder.glob("*")] == [folder / LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def _next_version(folder):
    """A path after all versions, and after files and folders of others that look like versions."""
    numbers = list(versions(folder))
    numbers += [_number(path) or 0 for path in folder.glob("*")]
    number = max(numbers, default=0) + 1
    if number > LARGEST_INTEGER:
        raise InputError(
            f"{folder / str(number - 1)} has the largest number that a version can have: rename it"
        )
    return folder / str(number)


def prune_versions(folder: str | os.PathLike, keep: int) -> list[int]:
    """Deletes the oldest versions, each as a whole, and returns their numbers, ascending.

    Files, and folders without a SavedModel, stay whatever their names.

    Args:
        folder: `saved_models/<model>`.
        keep: How many of the newest stay, at least 1.

    Raises:
        InputError: If `keep` is not a positive integer, or as `versions` does.
        OSError: If a version cannot be deleted.
    """
    folder, keep = Path(folder), check_integer("the number of versions to keep", keep, minimum=1)
    if len(versions(folder)) <= keep:
        return []
    with locked(folder, "an export is writing", seconds=_SECONDS_TO_WAIT):
        oldest = list(versions(folder).items())[:-keep]
        for _, path in oldest:
            remove_folder(path)
    return [number for number, _ in oldest]
