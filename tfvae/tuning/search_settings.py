"""What a search is made of: the values that it tries, and how it tries them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfvae.common.errors import InputError
from tfvae.common.validation import ValidatedModel
from tfvae.training.settings import Count, Network, NonnegativeNumber, PositiveNumber, Size, Sizes

SearchAlgorithm = Literal["GridSearch", "RandomSearch", "Hyperband", "BayesianOptimization"]
SearchObjective = Literal["val_elbo", "val_log_likelihood"]

# Lists of a file become tuples.
_AS_TUPLE = Field(strict=False, min_length=1)
Range = Annotated[tuple[Size, Size], _AS_TUPLE]
Networks = Annotated[tuple[Network, ...], _AS_TUPLE]
PositiveNumbers = Annotated[tuple[PositiveNumber, ...], _AS_TUPLE]
NonnegativeNumbers = Annotated[tuple[NonnegativeNumber, ...], _AS_TUPLE]
Epochs = Annotated[tuple[Annotated[int, Field(ge=0, le=10**9)], ...], _AS_TUPLE]


class SearchSpace(ValidatedModel):
    """The values that a search chooses from.

    The latent size is always searched, everything else where values are given; where none are, the
    setting of the training holds.

    Example:
        >>> SearchSpace(latent_dims=(2, 8, 32), learning_rates=(3e-4, 1e-3))
    """

    latent_dims: Sizes | None = None
    """The latent sizes; 2 4 8 16 32 64 if neither they nor a range are given."""
    latent_range: Range | None = None
    """The smallest and the largest latent size, in place of a list; small ones are tried more
    densely, and a grid takes 10 of them."""
    networks: Networks | None = None
    """The kinds of encoder and decoder."""
    widths: Sizes | None = None
    """The units of each hidden layer of an mlp; 16 times the filters of the first stage of a conv
    or resnet, and twice the units of its dense layer. 512 is that of train."""
    depths: Sizes | None = None
    """The numbers of hidden layers of an mlp, or of stages of a conv or resnet; 2 is that of
    train."""
    learning_rates: PositiveNumbers | None = None
    """The learning rates of Adam at the start."""
    batch_sizes: Sizes | None = None
    """The images per step."""
    betas: NonnegativeNumbers | None = None
    """The weights of the KL."""
    warmups: Epochs | None = None
    """The numbers of first epochs in which the weight of the KL rises from 0."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, values in self:
            if values and len(set(values)) < len(values):
                raise InputError(
                    f"{name} must not have a value twice; got {', '.join(map(str, values))}: for "
                    "several runs of each, ask for more executions"
                )
        if self.latent_range and self.latent_dims:
            raise InputError("the latent sizes are either listed or a range; got both")
        if self.latent_range and self.latent_range[0] > self.latent_range[1]:
            raise InputError("latent_range must be the smallest latent size, then the largest")
        return self


class SearchSettings(ValidatedModel):
    """How a search goes about it."""

    algorithm: SearchAlgorithm = "GridSearch"
    """The algorithm, by KerasTuner's name."""
    objective: SearchObjective = "val_elbo"
    """What is maximized on the validation images: the ELBO, or the importance-weighted estimate of
    log p(x)."""
    max_trials: Count | None = None
    """The largest number of trials; if none, 10, or all of a grid or of Hyperband."""
    executions: Count = 1
    """How many models a trial trains, each from its own seed."""
    num_importance_samples: Size = 100
    """The importance samples per validation image for log p(x)."""
