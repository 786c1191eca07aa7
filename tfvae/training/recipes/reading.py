"""The recipes that ship with the package: TOML files beside this module."""

import dataclasses
import datetime
import tomllib
from importlib import resources
from typing import Any

from tfvae.common.checks import suggestion
from tfvae.common.errors import InputError

_SUFFIX = ".toml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a model was published, and with which number.

    Attributes:
        title: Of the paper.
        authors: Of the paper.
        year: Of the paper.
        arxiv: Its number there; None for a number that was published elsewhere.
        table: Where in the paper the number stands.
        negative_log_likelihood: The number, in nats per image of the test set.
        estimator: How it was estimated there, from how many samples.
        is_checked: Whether the number was read there, rather than quoted from memory.
    """

    title: str
    authors: str
    year: int
    arxiv: str | None = None
    table: str
    negative_log_likelihood: float
    estimator: str
    is_checked: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a run of the recipe gave.

    Attributes:
        negative_log_likelihood: In nats per image of the test set.
        standard_error: Over its images.
        seed: Of the training.
        seconds: Of the training, without the evaluation.
        num_cores: On how many cores.
        date: Of the run.
        num_importance_samples: Latents per image for log p(x), where they were fewer than those of
            the recipe.
        as_published: The number again, from as many samples as the published one, where that took
            others.
    """

    negative_log_likelihood: float
    standard_error: float
    seed: int
    seconds: float
    date: datetime.date
    num_cores: int
    num_importance_samples: int | None = None
    as_published: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings that train a model of the literature.

    Attributes:
        name: What it is called.
        summary: What it trains, in a line.
        num_importance_samples: Latents per image for log p(x) of the test images.
        settings: By name; those of `TrainingSettings` that are not its defaults.
        paper: Where the model was published.
        ours: What runs of this recipe gave.
    """

    name: str
    summary: str
    num_importance_samples: int
    settings: dict[str, Any]
    paper: Paper
    ours: tuple[Result, ...]


def names() -> list[str]:
    """The names of all recipes, in alphabetical order."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def load(name: str) -> Recipe:
    """Reads a recipe.

    Args:
        name: One of `names()`.

    Returns:
        The recipe.

    Raises:
        InputError: If there is no recipe of that name.
    """
    known = names()
    if name not in known:
        raise InputError(f"there is no recipe {name!r}: {suggestion(name, known)}")
    text = resources.files(__package__).joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    content = tomllib.loads(text)
    paper = Paper(**content.pop("paper"))
    ours = tuple(Result(**result) for result in content.pop("ours", ()))
    return Recipe(name=name, paper=paper, ours=ours, **content)
