"""What a search is made of: the values that it tries, and how it tries them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tfvae.common.errors import InputError
from tfvae.common.validation import ValidatedModel
from tfvae.training.settings import Count, Network, NonnegativeNumber, PositiveNumber, Size

SearchAlgorithm = Literal["GridSearch", "RandomSearch", "Hyperband", "BayesianOptimization"]
SearchObjective = Literal["val_elbo", "val_log_likelihood"]

# Lists of a file become tuples.
Sizes = Annotated[tuple[Size, ...], Field(strict=False)]
Range = Annotated[tuple[Size, Size], Field(strict=False)]
Networks = Annotated[tuple[Network, ...], Field(strict=False)]
PositiveNumbers = Annotated[tuple[PositiveNumber, ...], Field(strict=False)]
NonnegativeNumbers = Annotated[tuple[NonnegativeNumber, ...], Field(strict=False)]
Epochs = Annotated[tuple[Annotated[int, Field(ge=0, le=10**9)], ...], Field(strict=False)]


class SearchSpace(ValidatedModel):
    """The values that a search chooses from.

    The latent size is always searched, everything else where values are given; where none are, the
    setting of the training holds.

    Example:
        >>> SearchSpace(latent_dims=(2, 8, 32), learning_rates=(3e-4, 1e-3))
    """

    latent_dims: Sizes = (2, 4, 8, 16, 32, 64)
    """The latent sizes."""
    latent_range: Range | None = None
    """The smallest and the largest latent size, in place of a list; small ones are tried more
    densely, and a grid takes 10 of them."""
    networks: Networks = ()
    """The kinds of encoder and decoder."""
    widths: Sizes = ()
    """The units of each hidden layer of an mlp; 16 times the filters of the first stage of a conv
    or resnet, and twice the units of its dense layer. 512 is that of train."""
    depths: Sizes = ()
    """The numbers of hidden layers of an mlp, or of stages of a conv or resnet; 2 is that of
    train."""
    learning_rates: PositiveNumbers = ()
    """The learning rates of Adam at the start."""
    batch_sizes: Sizes = ()
    """The images per step."""
    betas: NonnegativeNumbers = ()
    """The weights of the KL."""
    warmups: Epochs = ()
    """The numbers of first epochs in which the weight of the KL rises from 0."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, values in self:
            if len(set(values or ())) < len(values or ()):
                raise InputError(
                    f"{name} must not have a value twice; got {', '.join(map(str, values))}: for "
                    "several runs of each, ask for more executions"
                )
        if self.latent_range is None:
            if not self.latent_dims:
                raise InputError("latent_dims must have a value; got none")
            return self
        if self.latent_dims != type(self).model_fields["latent_dims"].default:
            raise InputError("the latent sizes are either listed or a range; got both")
        if self.latent_range[0] > self.latent_range[1]:
            raise InputError(
                "latent_range must be the smallest and the largest latent size; got "
                f"{self.latent_range[0]}, {self.latent_range[1]}"
            )
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
