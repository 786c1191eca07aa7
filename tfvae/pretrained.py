"""The trained models that come with the package."""

from pathlib import Path

from tfvae import runs
from tfvae.errors import InputError
from tfvae.vae import VAE

# In an installed package, and in its repository.
_FOLDERS = (
    Path(__file__).parent / "saved_models",
    Path(__file__).parents[1] / "saved_models",
)


def names() -> list[str]:
    """The names of the pretrained models, in alphabetical order."""
    return sorted(
        {file.parent.name for folder in _FOLDERS for file in folder.glob("*/model.keras")}
    )


def folder_of(name: str) -> Path:
    """Where a pretrained model lies, with its card.

    Args:
        name: One of `names()`.

    Returns:
        A folder with `model.keras` and `card/README.md`.

    Raises:
        InputError: If there is no pretrained model of that name.
    """
    for folder in _FOLDERS:
        if (folder / name / runs.MODEL).is_file():
            return folder / name
    raise InputError(
        f"there is no pretrained model {name!r}: known are {', '.join(names()) or 'none'}; a file "
        "or a run of your own is loaded by keras.saving.load_model"
    )


def load_pretrained(name: str) -> VAE:
    """Loads a model that comes with the package.

    Args:
        name: One of `tfvae.pretrained.names()`; its card says what it is and how good.

    Returns:
        The model, not compiled.

    Raises:
        InputError: If there is no pretrained model of that name.

    Example:
        >>> vae = tfvae.load_pretrained("digits")
        >>> images = vae.sample(16, seed=0)
    """
    return runs.load_vae(folder_of(name))
