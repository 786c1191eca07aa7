"""The numbered versions of a served model: each appears whole, and none is ever changed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write


def versions(folder: str | os.PathLike) -> dict[int, Path]:
    """The folder of each version of a model by its number, ascending, as the server sees them.

    The folder of the model need not exist. `InputError` if it is a file or a SavedModel itself, or
    holds a SavedModel in a folder whose name is not a number.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for the versions of the model")
    if (folder / "saved_model.pb").exists():
        raise InputError(
            f"{folder} is a SavedModel itself: give the folder above, in which the versions lie"
        )
    found = {}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.name.isascii() and path.name.isdigit():
            found[int(path.name)] = path
        elif not path.name.startswith(".") and (path / "saved_model.pb").exists():
            raise InputError(
                f"{path} holds a SavedModel, but its name is not a number, so that TensorFlow "
                "Serving would never serve it: rename it to a version number or move it away"
            )
    return dict(sorted(found.items()))


def add_version(folder: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Adds a version, which appears when it is complete, and returns its path.

    `write` is called with the path, not yet existing, of a folder in a hidden one, so that a server
    polling the model's folder never sees half of a version. Two at once get two versions: who comes
    second writes again under the next number. When `write` raises, nothing is left; an `OSError`
    becomes an `InputError`.
    """
    folder = Path(folder)
    number = max(versions(folder), default=0) + 1
    existed = folder.exists()
    while True:
        version = folder / str(number)
        try:
            with atomic_write(version) as beside:
                write(beside)
            return version
        except OSError as error:
            # Otherwise another export has taken the number meanwhile.
            if not version.exists():
                raise InputError(
                    f"{folder} cannot be written to: {error.strerror or error}; nothing was left "
                    "behind. Make room there, or give a folder that you may write to"
                ) from error
            number += 1
        finally:
            if not existed:
                # Only if it is empty: what others have written there meanwhile stays.
                with contextlib.suppress(OSError):
                    folder.rmdir()


def prune_versions(folder: str | os.PathLike, keep: int) -> list[int]:
    """Deletes the oldest versions, each as a whole, and returns their numbers, ascending.

    Args:
        folder: `saved_models/<model>`.
        keep: How many of the newest stay, at least 1.

    Raises:
        InputError: If `keep` is not a positive integer, as `versions` does, or if a version
            cannot be deleted.
    """
    keep = check_integer("the number of versions to keep", keep, minimum=1)
    oldest = list(versions(folder).items())[:-keep]
    for _, path in oldest:
        try:
            hidden = Path(tempfile.mkdtemp(prefix=".pruned.", dir=folder))
            path.replace(hidden / path.name)
            shutil.rmtree(hidden)
        except OSError as error:
            raise InputError(f"{path} cannot be deleted: {error.strerror or error}") from error
    return [number for number, _ in oldest]
