"""The trained models that come with the package."""

import os
from pathlib import Path

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError
from tfvae.common.files import SHIPPED_MODELS
from tfvae.training import runs
from tfvae.vae import VAE


def names() -> list[str]:
    """The names of the pretrained models, in alphabetical order."""
    return sorted(file.parent.name for file in SHIPPED_MODELS.glob(f"*/{runs.MODEL}"))


def folder_of(name: str) -> Path:
    """The folder of a pretrained model: `model.keras`, `settings.json` and `card/README.md`."""
    if name not in names():
        raise InputError(
            f"there is no pretrained model {name!r} (a .keras file of your own is loaded by "
            f"tfvae.load_model): {suggestion(name, names())}"
        )
    return SHIPPED_MODELS / name


def find_model(model: str | os.PathLike) -> Path:
    """The file or folder that a path stands for or, if there is none, a pretrained model's name."""
    if Path(model).exists():
        return Path(model)
    if os.fspath(model) in names():
        return folder_of(os.fspath(model))
    raise InputError(
        f"there is no model {os.fspath(model)!r}: give a .keras file, the folder of a training "
        f"run, or the name of a pretrained model: {suggestion(model, names())}"
    )


def load_model(model: str | os.PathLike) -> VAE:
    """Loads a VAE of your own, or one that comes with the package; no code of a file is run.

    Args:
        model: A `.keras` file, the folder of a training run, or the name of a pretrained model.

    Returns:
        The model, compiled as it was saved; with the default optimizer and objective if it was
        saved without.

    Raises:
        InputError: If there is no such model, or the file holds something else.

    Example:
        >>> vae = tfvae.load_model("runs/digits-1")
        >>> vae.evaluate(tfvae.load_dataset("digits", split="test"), return_dict=True)
    """
    vae = runs.load_vae(find_model(model))
    if not vae.compiled:
        vae.compile()
    return vae


def load_pretrained(name: str) -> VAE:
    """Loads a model that comes with the package, compiled like a new one.

    Args:
        name: One of `tfvae.training.pretrained.names()`; its card says what it is and how good.

    Raises:
        InputError: If there is no pretrained model of that name.

    Example:
        >>> vae = tfvae.load_pretrained("digits")
        >>> images = vae.sample(16, seed=0)
    """
    return load_model(folder_of(name))
