"""Settings that train models of the literature, each with the number that was published."""

import datetime
import tomllib
from importlib import resources
from typing import Annotated, Any

from pydantic import Field

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError
from tfvae.common.validation import ValidatedModel

_SUFFIX = ".toml"


class Paper(ValidatedModel):
    """Where a model was published, and with which number."""

    title: str
    authors: str
    year: int
    arxiv: str | None = None
    """The identifier on arXiv; None for a number that was published elsewhere."""
    table: str
    """Where in the paper the number stands."""
    negative_log_likelihood: float
    """The number, in nats per image of the test set."""
    estimator: str
    """How it was estimated there, from how many samples."""
    is_checked: bool
    """Whether the number was read there, rather than quoted from memory."""


class Result(ValidatedModel):
    """What a run of the recipe gave."""

    negative_log_likelihood: float
    """In nats per image of the test set."""
    standard_error: float
    """Over the images of the test set."""
    seed: int
    seconds: float
    """The time of the training, without the evaluation."""
    date: datetime.date
    num_cores: int
    num_importance_samples: int | None = None
    """Importance samples per image for log p(x), where they were fewer than the recipe's."""
    as_published: float | None = None
    """The number from as many samples as the published one, where that took others."""


class Recipe(ValidatedModel):
    """Settings that train a model of the literature."""

    name: str
    summary: str
    """What it trains, in a line."""
    settings: dict[str, Any]
    """Those of `TrainingSettings` that are not its defaults, by name."""
    paper: Paper
    ours: Annotated[tuple[Result, ...], Field(strict=False)] = ()
    """What runs of this recipe gave."""

    @property
    def num_importance_samples(self) -> int:
        """Importance samples per image for log p(x) of the test images."""
        return self.settings["num_importance_samples"]


def names() -> list[str]:
    """The names of all recipes, in alphabetical order."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load(name: str) -> Recipe:
    """Reads a recipe, or raises `InputError` if there is none of that name."""
    known = names()
    if name not in known:
        raise InputError(f"there is no recipe {name!r}: {suggestion(name, known)}")
    text = resources.files(__package__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    return Recipe(name=name, **tomllib.loads(text))
