"""The card of a trained model: what it is, what it was trained on, and how good it is."""

import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tfvae import __version__
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.vae import VAE

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")
_STANDARD_ERROR = "_stderr"


def write_model_card(
    vae: VAE,
    folder: str | os.PathLike,
    *,
    data: str,
    numbers: Mapping[str, float],
    command: str,
    sections: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes `<folder>/card/README.md`, beside `<folder>/model.keras` and the versions.

    Args:
        vae: The model.
        folder: `saved_models/<model>`.
        data: What it was trained and evaluated on, a sentence or more of Markdown.
        numbers: What was measured on held-out images; `name` and `name_stderr` make one line.
        command: What trains it again.
        sections: Further sections of Markdown, by heading.
        overwrite: Whether a card that is there is replaced.

    Returns:
        The card's path. The PNG files that lie beside it are shown in it.

    Raises:
        InputError: If there is a card already, or it cannot be written.
    """
    path = Path(folder) / "card" / "README.md"
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already: give overwrite=True to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        card = _card(
            vae,
            name=Path(folder).name,
            data=data,
            numbers=numbers,
            command=command,
            sections=sections or {},
            pictures=sorted(path.parent.glob("*.png")),
        )
        with atomic_write(path) as beside:
            beside.write_text(card, "utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _card(vae, *, name, data, numbers, command, sections, pictures):
    height, width, channels = vae.image_shape
    rows = [
        f"| {key} | {_measured(value, numbers.get(key + _STANDARD_ERROR))} |"
        for key, value in numbers.items()
        if not (key.endswith(_STANDARD_ERROR) and key.removesuffix(_STANDARD_ERROR) in numbers)
    ]
    versions = [f"tfvae {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{package} {metadata.version(package)}" for package in _PACKAGES]
    parts = [
        f"# {name}",
        f"A variational autoencoder of {height} x {width} x {channels} images with "
        f"{vae.latent_dim} latent dimensions: {vae.encoder.count_params():,} parameters in the "
        f"encoder, {vae.decoder.count_params():,} in the decoder.",
        "## Data",
        data,
        "## Numbers",
        "On held-out images, in nats per image where nothing else is said; ± is one standard "
        "error.",
        "\n".join(["| | |", "|---|---|", *rows]),
        "## Command",
        f"```bash\n{command}\n```",
        *(part for heading, text in sections.items() for part in (f"## {heading}", text)),
        "## Versions",
        ", ".join(versions),
    ]
    parts += [f"![{picture.stem.replace('_', ' ')}]({picture.name})" for picture in pictures]
    return "\n\n".join(parts) + "\n"


def _measured(value, standard_error):
    if standard_error is None:
        return f"{value:.6g}"
    # Both to the second digit of the error, or to hundredths.
    decimals = 2
    if 0 < standard_error < 1:
        decimals = max(decimals, 1 - math.floor(math.log10(standard_error)))
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"
