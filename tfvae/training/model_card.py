"""The card of a published model: what it is, what it was trained on, and how good it is."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from typing import Any

from tfvae import __version__
from tfvae.datasets import DatasetDescription
from tfvae.training import recipes, splits
from tfvae.training.settings import EVALUATION, MACHINE, TrainingSettings
from tfvae.vae import VAE

TEMPLATE = resources.files(__package__) / "card.md"

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")
_BINARIZATION = {
    "dynamic": "dynamic binarization; the held-out images were sampled once, from seed "
    f"{splits.EVALUATION_SEED}",
    "fixed": "binarized once by sampling",
    "threshold": "binarized at a half",
    "none": "as they are stored",
}


def fill_card(
    vae: VAE,
    settings: TrainingSettings,
    description: DatasetDescription,
    results: Mapping[str, Any],
    *,
    name: str,
    command: str,
    pictures: Sequence[str],
) -> str:
    """The text of a card in Markdown; `command` trains again, `pictures` are files beside it."""
    numbers = {key: _number(results[key], results.get(f"{key}_stderr")) for key in results}
    versions = [f"tfvae {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{package} {metadata.version(package)}" for package in _PACKAGES]
    return TEMPLATE.read_text("utf-8").format(
        vae=vae,
        settings=settings,
        description=description,
        results=results,
        name=name,
        command=command,
        encoder_parameters=vae.encoder.count_params(),
        decoder_parameters=vae.decoder.count_params(),
        counts=splits.sizes(settings, description),
        binarization=_BINARIZATION[settings.binarization],
        numbers=numbers,
        start=f" from `{settings.initial_model}` on," if settings.initial_model else "",
        objective=_objective(settings),
        recipe=_recipe(settings),
        bound=_bound(settings),
        versions=", ".join(versions),
        pictures="\n\n".join(f"![{name.replace('_', ' ')}]({name}.png)" for name in pictures),
    )


def _number(value, standard_error):
    if not isinstance(value, int | float):
        return "?"
    if standard_error is None:
        return f"{value:.6g}"
    # Both to the second digit of the error, or to hundredths.
    decimals = 2
    if 0 < standard_error < 1:
        decimals = max(decimals, 1 - math.floor(math.log10(standard_error)))
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"


def _objective(settings):
    if settings.objective == "elbo":
        return "the ELBO"
    text = f"the importance-weighted bound of {settings.num_samples} samples"
    if settings.gradient_estimator == "doubly_reparameterized":
        text += " with the doubly reparameterized gradient (arXiv:1810.04152)"
    if settings.num_resampled is not None:
        text += f", its gradient through {settings.num_resampled} resampled ones alone"
    return text


def _recipe(settings):
    if settings.recipe is None:
        return ""
    recipe = recipes.load(settings.recipe)
    usual = TrainingSettings.merged(recipe=settings.recipe)
    changed = [
        name
        for name, value in settings
        # Runs of one recipe differ in these.
        if name not in {"seed", *settings.under(MACHINE, EVALUATION)}
        and value != getattr(usual, name)
    ]
    if changed:
        return (
            f"\n\nRecipe `{recipe.name}` ({recipe.summary}), but with other settings "
            f"({', '.join(changed)}): its published number is not one of this model."
        )
    paper = recipe.paper
    doubt = "" if paper.is_checked else ", quoted from memory and not read in the paper"
    place = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
    return (
        f"\n\nRecipe `{recipe.name}`: {recipe.summary}. Published: -log p(x) of "
        f"{paper.negative_log_likelihood:.2f} nats{doubt} ({paper.authors}. {paper.title}. "
        f"{paper.year}{place}; {paper.table}; {paper.estimator})."
    )


def _bound(settings):
    if settings.objective != "iwae":
        return ""
    return (
        f" Its encoder was trained for {settings.num_samples} samples per image, weighted by "
        "their importance: a single one is worse than one of a model that was trained on the ELBO, "
        "and so is its ELBO."
    )
