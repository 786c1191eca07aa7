"""Files that are either whole or absent: written beside their place, then renamed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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


def check_output_file(output: Path | None, *suffixes: str, overwrite: bool = False) -> None:
    """Refuses a file whose name ends otherwise than asked, and one that is there already."""
    if output is None:
        return
    if suffixes and output.suffix not in suffixes:
        raise InputError(f"the output must be a {' or '.join(suffixes)} file; got {str(output)!r}")
    if output.is_dir():
        raise InputError(f"the output {output} must be a file; there is a folder")
    if output.is_file() and not overwrite:
        raise InputError(f"{output} exists, and is not overwritten: choose another, or remove it")
