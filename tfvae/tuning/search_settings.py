"""What a search is made of: the values that are tried, and how they are tried."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from tfvae.common.errors import InputError
from tfvae.training.settings import Network

SearchAlgorithm = Literal["GridSearch", "RandomSearch", "Hyperband", "BayesianOptimization"]
SearchObjective = Literal["val_elbo", "val_log_likelihood"]

DEFAULT_LATENT_DIMS = (2, 4, 8, 16, 32, 64)
DEFAULT_MAX_TRIALS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The values that a search chooses from.

    The latent size is always searched, everything else where values are given; where none are, the
    setting of the training holds.

    Attributes:
        latent_dims: The latent sizes; if neither these nor a range are given, 2, 4, ... 64.
        latent_range: The smallest and the largest latent size, instead: any integer between them,
            small ones more densely (a grid takes 10 of them, evenly on a logarithmic scale).
        networks: The kinds of encoder and decoder.
        widths: How wide the networks are; 512 is `tfvae train`'s. Units of each hidden layer of an
            mlp; of conv and resnet, 16 times the filters of the first stage (which each further
            stage doubles), and twice the units of the fully connected layer.
        depths: The hidden layers of an mlp, the stages of conv and resnet; 2 is `tfvae train`'s.
        learning_rates: Of Adam, at the start.
        batch_sizes: Images a step.
        betas: The weights of the KL.
        warmup_epochs: Over how many first epochs the weight of the KL rises from 0.

    Raises:
        InputError: If a value is not possible, or given twice.

    Example:
        >>> SearchSpace(latent_dims=(2, 8, 32), learning_rates=(3e-4, 1e-3))
    """

    latent_dims: Sequence[int] = ()
    latent_range: Sequence[int] | None = None
    networks: Sequence[Network] = ()
    widths: Sequence[int] = ()
    depths: Sequence[int] = ()
    learning_rates: Sequence[float] = ()
    batch_sizes: Sequence[int] = ()
    betas: Sequence[float] = ()
    warmup_epochs: Sequence[int] = ()

    def __post_init__(self):
        if self.latent_range is None and not self.latent_dims:
            object.__setattr__(self, "latent_dims", DEFAULT_LATENT_DIMS)
        # Lists, as JSON has them, so that a search that was read back equals itself.
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if values is not None:
                object.__setattr__(self, field.name, list(values))
        for name, least in (
            ("latent_dims", 1),
            ("latent_range", 1),
            ("widths", 1),
            ("depths", 1),
            ("batch_sizes", 1),
            ("warmup_epochs", 0),
        ):
            values = getattr(self, name) or []
            if not all(_is_integer(value) and value >= least for value in values):
                raise InputError(
                    f"{name} must be integers of at least {least}; got {_listed(values)}"
                )
        for name, positive in (("learning_rates", True), ("betas", False)):
            values = getattr(self, name)
            if not all(
                _is_number(value) and value >= 0 and (value or not positive) for value in values
            ):
                bound = "above 0" if positive else "of at least 0"
                raise InputError(f"{name} must be finite numbers {bound}; got {_listed(values)}")
        known = get_args(Network)
        if set(self.networks) - set(known):
            raise InputError(
                f"networks must be of {', '.join(known)}; got {_listed(self.networks)}"
            )
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if field.name != "latent_range" and len(set(values)) < len(values):
                raise InputError(
                    f"{field.name} must not be repeated; got {_listed(values)}: for several runs "
                    "of each, ask for more executions per trial"
                )
        if self.latent_range is not None:
            if self.latent_dims:
                raise InputError(
                    "the latent sizes are either listed or a range; got both "
                    f"{_listed(self.latent_dims)} and {_listed(self.latent_range)}"
                )
            if len(self.latent_range) != 2 or self.latent_range[0] >= self.latent_range[1]:
                raise InputError(
                    "a range of latent sizes is the smallest and the largest; got "
                    f"{_listed(self.latent_range)}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a search goes about it.

    Attributes:
        algorithm: KerasTuner's name of it.
        objective: What is maximised, of the validation images: the ELBO, or the importance-weighted
            estimate of log p(x).
        max_trials: The most trials; None for 10, and for all of a grid or of Hyperband's schedule.
        executions_per_trial: How often each model is trained, from seeds of its own.
        num_importance_samples: Latents per validation image for log p(x).

    Raises:
        InputError: If a value is not possible.
    """

    algorithm: SearchAlgorithm = "GridSearch"
    objective: SearchObjective = "val_elbo"
    max_trials: int | None = None
    executions_per_trial: int = 1
    num_importance_samples: int = 100

    def __post_init__(self):
        if self.algorithm not in get_args(SearchAlgorithm):
            raise InputError(
                f"the search must be one of {', '.join(get_args(SearchAlgorithm))}; got "
                f"{self.algorithm!r}"
            )
        if self.objective not in get_args(SearchObjective):
            raise InputError(
                f"the objective {self.objective!r} is not logged by a trial: take one of "
                f"{', '.join(get_args(SearchObjective))}"
            )
        for name in ("max_trials", "executions_per_trial", "num_importance_samples"):
            value = getattr(self, name)
            if value is None and name == "max_trials":
                continue
            if not _is_integer(value) or value < 1:
                raise InputError(f"{name} must be an integer of at least 1; got {value!r}")
        if self.max_trials is None and self.algorithm in ("RandomSearch", "BayesianOptimization"):
            object.__setattr__(self, "max_trials", DEFAULT_MAX_TRIALS)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(values):
    return ", ".join(map(repr, values))
