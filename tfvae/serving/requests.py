"""The files of `tfvae request`: arrays to send to a server, and what it answered."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, check_output_file


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads images or latents from a `.npy` file, or from a `.npz` file of one array.

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
            names = ", ".join(archive.files) or "none"
            raise InputError(f"{path} must have one array; it has {names}")
        return archive[archive.files[0]]


def write_answer(answer: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Writes what a server answered to a file, and returns its path.

    Args:
        answer: Arrays by name.
        path: A `.npz` file for all arrays, or a `.png` file for the images (or, where there are
            none, the probabilities) as a grid.

    Raises:
        InputError: If the name ends in something else, or there is nothing to draw.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    check_output_file(path, ".npz", ".png", overwrite=True)
    if path.suffix == ".npz":
        with atomic_write(path) as beside:
            np.savez_compressed(beside, **answer)
        return path
    images = answer.get("images", answer.get("probabilities"))
    if images is None:
        raise InputError(f"{', '.join(answer)} cannot be drawn: give a file that ends in .npz")
    # Not at the top: matplotlib takes a second to import, and most answers are not drawn.
    from tfvae.figures import image_grid

    grid = image_grid(images)
    with atomic_write(path) as beside:
        Image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid).save(beside)
    return path
