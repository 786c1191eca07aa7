"""The numbered versions of a served model: each appears whole, and none is ever changed."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError


def versions(folder: str | os.PathLike) -> dict[int, Path]:
    """The versions in a model's folder, as TensorFlow Serving sees them.

    Args:
        folder: `saved_models/<model>`; it need not exist.

    Returns:
        The folder of each version by its number, in ascending order.

    Raises:
        InputError: If `folder` is a file or a SavedModel itself, or holds a SavedModel in a folder
            whose name is not a number.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for the versions of the model")
    if (folder / "saved_model.pb").exists():
        raise InputError(
            f"{folder} is a SavedModel itself: give the folder above, in which the versions lie"
        )
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        if path.name.isascii() and path.name.isdigit():
            found[int(path.name)] = path
        elif (path / "saved_model.pb").exists():
            raise InputError(
                f"{path} holds a SavedModel, but its name is not a number, so that TensorFlow "
                "Serving would never serve it: rename it to a version number or move it away"
            )
    return dict(sorted(found.items()))


def add_version(folder: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Adds a version, which appears when it is complete.

    It is written to a hidden folder beside the others and renamed, so that a server polling the
    model's folder never sees half of one. Its number, one above the highest, is taken by the
    rename itself: two exports at once get two versions. When `write` raises, nothing is left.

    Args:
        folder: `saved_models/<model>`, made where it is missing.
        write: Called with the path, not yet existing, of the folder to write.

    Returns:
        The new version's path.

    Raises:
        InputError: As `versions` does, or if the folder cannot be written to.
    """
    folder = Path(folder)
    versions(folder)
    existed = folder.exists()
    hidden = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".version.", dir=folder))
        written = hidden / "version"
        write(written)
        _flush(written)
        return _rename_to_next(written, folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to: {error.strerror or error}; nothing was left behind. "
            "Make room there, or give a folder that you may write to"
        ) from error
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
        if not existed:
            # Only if it is empty: what others have written there meanwhile stays.
            with contextlib.suppress(OSError):
                folder.rmdir()


def prune_versions(folder: str | os.PathLike, keep: int) -> list[int]:
    """Deletes the oldest versions; each disappears as a whole.

    Args:
        folder: `saved_models/<model>`.
        keep: How many of the newest stay, at least 1.

    Returns:
        The numbers of the deleted versions, ascending.

    Raises:
        InputError: If `keep` is not a positive integer, as `versions` does, or if a version
            cannot be deleted.
    """
    keep = check_integer("the number of versions to keep", keep, minimum=1)
    folder = Path(folder)
    oldest = list(versions(folder).items())[:-keep]
    for _, path in oldest:
        try:
            hidden = Path(tempfile.mkdtemp(prefix=".pruned.", dir=folder))
            path.replace(hidden / path.name)
            shutil.rmtree(hidden)
        except OSError as error:
            raise InputError(f"{path} cannot be deleted: {error.strerror or error}") from error
    return [number for number, _ in oldest]


def _rename_to_next(written, folder):
    number = max(versions(folder), default=0) + 1
    while True:
        try:
            return written.rename(folder / str(number))
        except OSError as error:
            # Another export took the number since.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            number += 1


def _flush(folder):
    """Brings everything in the folder onto the disk: a version outlives a power cut or is not."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
