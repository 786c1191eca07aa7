"""Files that are either whole or absent: written beside their place, then renamed."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfvae.common.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    r"""Gives a path to write to, and renames it to `path` once the block has ended well.

    When the block raises, what stood at `path` before is untouched and nothing is left behind. The
    folder of `path` is made where it is missing. `path` may also become a folder, which must not
    exist yet. A link stays, and what it points to is written; a pipe or a device, like
    `/dev/stdout`, cannot be replaced and is written to directly.

    Raises:
        OSError: If the place cannot be written.

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
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:32]}.", dir=place.parent))
    try:
        beside = folder / path.name
        yield beside
        for written in (beside, *beside.rglob("*")):
            if written.is_file():
                with written.open("rb+") as file:
                    os.fsync(file.fileno())
        beside.replace(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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

    Where nothing can be overwritten, `overwrite` is None.
    """
    if output is None:
        return
    if suffixes and output.suffix not in suffixes:
        raise InputError(f"the output must be a {' or '.join(suffixes)} file; got {str(output)!r}")
    if output.is_dir():
        raise InputError(f"the output {output} must be a file; there is a folder")
    if output.is_file() and not overwrite:
        raise InputError(f"{output} exists: {_advice(overwrite)}")


def check_output_folder(folder: Path, *, overwrite: bool | None = None) -> None:
    """Refuses a folder that holds something, and a file in its place."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} must be a folder; there is a file")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"the folder {folder} is not empty: {_advice(overwrite)}")


def _advice(overwrite):
    otherwise = "remove it" if overwrite is None else "give --overwrite to replace it"
    return f"choose another, or {otherwise}"
