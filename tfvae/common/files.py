"""Files that are either whole or absent: written beside their place, then renamed."""

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from tfvae.common.errors import InputError

LOCK = ".lock"
"""In a folder that one process at a time may use."""

_HALF_WRITTEN = ".tfvae"

_PACKAGE = Path(__file__).parents[1]
SHIPPED_MODELS = next(
    filter(Path.is_dir, (_PACKAGE / "saved_models", _PACKAGE.parent / "saved_models")), _PACKAGE
)
"""The models that come with the package: in an installed one, or in its repository."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    r"""Gives a path to write to, and renames it to `path` once the block has ended well.

    When the block raises, what stood at `path` before is untouched and nothing is left behind; when
    the process is killed, a hidden folder may be, which `remove_half_written` finds. The folder of
    `path` is made where it is missing. A file that is replaced keeps its mode. `path` may also
    become a folder, which must not exist yet. A link stays, and what it points to is written; a
    pipe or a device, like `/dev/stdout`, cannot be replaced and is written to directly.

    Raises:
        OSError: If the place cannot be written; its `filename` is the place.

    Example:
        >>> with atomic_write("runs/digits/history.csv") as path:
        ...     path.write_text("epoch,loss\n")
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that the rename stays on one file system, and under the same name, for
    # writers that look at its end; the longest name that a file may have leaves no room for more.
    folder = tempfile.mkdtemp(_HALF_WRITTEN, prefix=f".{path.name[:32]}.", dir=place.parent)
    try:
        beside = Path(folder, path.name)
        yield beside
        if place.is_file():
            beside.chmod(stat.S_IMODE(place.stat().st_mode))
        # Files, then the folders that name them: after a power cut nothing may be there by halves.
        below = sorted(beside.rglob("*"), key=lambda written: written.is_dir())
        for written in (*below, beside):
            _sync(written)
        beside.replace(place)
        _sync(place.parent)
    except OSError as error:
        # A full disk names nothing, and what lies in the hidden folder nobody knows.
        if error.filename is None or os.fspath(error.filename).startswith(folder):
            error.filename = os.fspath(path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_half_written(folder: Path, names: str = "*") -> None:
    """Removes what killed processes were writing into a folder, or into one in it.

    Nobody else may be writing what has these names there now.
    """
    name = f".{names}.????????{_HALF_WRITTEN}"
    for hidden in (*folder.glob(name), *folder.glob(f"*/{name}")):
        shutil.rmtree(hidden, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder that nobody may see in parts: it is hidden first, as half-written ones."""
    hidden = tempfile.mkdtemp(_HALF_WRITTEN, prefix=f".{folder.name[:32]}.", dir=folder.parent)
    try:
        folder.rename(Path(hidden, folder.name))
    finally:
        shutil.rmtree(hidden)


@contextlib.contextmanager
def locked(folder: Path, what: str, *, seconds: float = 0.0) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made where it is missing.

    A lock ends with the process that holds it. `what` says in an error what goes on in the folder,
    and `seconds` how long to wait for its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK, timeout=seconds)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"{what} in {folder}: wait for its end, or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_text(file: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_write(file) as path:
        path.write_text(text, encoding="utf-8")


def write_json(file: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(file, json.dumps(value, indent=2) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file that this package has written, or `InputError` if it is damaged."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{file} is damaged: it holds {type(value).__name__}, no object")
    return value


def check_output_file(output: Path | None, *suffixes: str, overwrite: bool | None = None) -> None:
    """Refuses a file whose name ends otherwise than asked, and one that is there already.

    A place that cannot be written is refused before the work is done. Where nothing can be
    overwritten, `overwrite` is None.
    """
    if output is None:
        return
    if suffixes and output.suffix not in suffixes:
        raise InputError(f"the output must be a {' or '.join(suffixes)} file; got {str(output)!r}")
    if output.is_dir():
        raise InputError(f"the output {output} must be a file; there is a folder")
    if output.is_fifo() and not output.is_symlink():
        raise InputError(
            f"the output {output} is a named pipe, for which one would wait: give a file"
        )
    if output.is_file() and not overwrite:
        raise InputError(f"{output} exists: {_advice(overwrite)}")
    if output.exists() and not output.is_file():
        return  # A device, or the standard output.
    place = next(parent for parent in output.absolute().parents if parent.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise InputError(f"{output} cannot be written in {place}: {error.strerror}") from error


def check_output_folder(folder: Path, *, overwrite: bool | None = None) -> None:
    """Refuses a folder that holds something, and a file in its place."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} must be a folder; there is a file")
    if folder.is_dir() and {*folder.iterdir()} - {folder / LOCK} and not overwrite:
        raise InputError(f"the folder {folder} is not empty: {_advice(overwrite)}")


def _advice(overwrite):
    otherwise = "remove it" if overwrite is None else "give --overwrite to replace it"
    return f"choose another, or {otherwise}"
