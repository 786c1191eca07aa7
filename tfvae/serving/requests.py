"""A request from files to a file: what `tfvae request` does."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.serving.client import Client

# By signature: what it takes, in order.
INPUTS = {
    "encode": ("images",),
    "decode": ("latents",),
    "reconstruct": ("images",),
    "sample": ("seeds",),
    "score": ("images", "seeds"),
}
_OPTIONAL = {("score", "seeds")}


def request(client: Client, signature: str, **inputs: ArrayLike | None) -> dict[str, np.ndarray]:
    """Asks one signature by its name.

    Args:
        client: Whom to ask.
        signature: `"encode"`, `"decode"`, `"reconstruct"`, `"sample"` or `"score"`.
        **inputs: Those of `images`, `latents` and `seeds` that the signature takes, as the
            client's method has them; None is as if it were not given.

    Returns:
        The outputs by name, such as `images`, `probabilities` and `latents`.

    Raises:
        InputError: If there is no such signature, an input is missing, too many or not what the
            model takes.
        ServerError: If the server does not answer as it should.
    """
    if signature not in INPUTS:
        raise InputError(f"there is no signature {signature!r}: ask for one of {', '.join(INPUTS)}")
    given = {name: value for name, value in inputs.items() if value is not None}
    taken = INPUTS[signature]
    missing = [n for n in taken if n not in given and (signature, n) not in _OPTIONAL]
    if missing or set(given) - set(taken):
        raise InputError(
            f"{signature} takes {' and '.join(taken)}; got {' and '.join(given) or 'nothing'}"
        )
    answer = getattr(client, signature)(**given)
    return answer._asdict() if isinstance(answer, tuple) else {"probabilities": answer}


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads the images or latents of a request.

    Args:
        path: A `.npy` file, or a `.npz` file of one array.

    Returns:
        The array.

    Raises:
        InputError: If it is no such file.
    """
    try:
        loaded = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a .npy or .npz file: {error}") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as archive:
        if len(archive.files) != 1:
            raise InputError(
                f"{path} must have one array; it has {', '.join(archive.files) or 'none'}"
            )
        return archive[archive.files[0]]


def write_answer(answer: dict[str, np.ndarray], path: str | os.PathLike) -> Path:
    """Writes what a server answered.

    Args:
        answer: Arrays by name.
        path: A `.npz` file for all arrays, or a `.png` file for the images (or, where there are
            none, the probabilities) as a grid.

    Returns:
        The path.

    Raises:
        InputError: If the name ends in something else, there is nothing to draw, or the file
            cannot be written.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".npz":
            _write(path, lambda beside: np.savez_compressed(beside, **answer))
        case ".png":
            drawn = answer.get("images", answer.get("probabilities"))
            if drawn is None:
                raise InputError(
                    f"{', '.join(answer)} cannot be drawn: write them to a file that ends in .npz"
                )
            from tfvae.figures import image_grid

            grid = image_grid(drawn)
            image = Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid)
            _write(path, image.save)
        case _:
            raise InputError(f"an answer is written to a .npz or .png file; got {path}")
    return path


def _write(path, write):
    try:
        with atomic_write(path) as beside:
            write(beside)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
