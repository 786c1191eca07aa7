"""What a family of distributions is: a Keras layer between a network's output and TFP."""

import abc
from typing import Any, TypeVar

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.common.errors import InputError


class Family(keras.layers.Layer, abc.ABC):
    """A family of distributions.

    It is the number of parameters that it wants from a network, a function from these to a TFP
    distribution, and a function from noise to a sample. It is a layer for the sake of its weights,
    which belong to all images; `build` makes them, and a model builds its families itself.

    Attributes:
        num_parameters: How many parameters the network gives per value (of an image, or of the
            latents). They come parameter by parameter: the first ones of all values, then the
            second ones, and so on.
    """

    num_parameters: int = 1

    @abc.abstractmethod
    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """The distribution of a network's output.

        Args:
            parameters: `[..., num_parameters * values]`, float32, or float64 in float64 models.

        Returns:
            Its type, and that of its samples, is the type of the parameters.
        """

    @abc.abstractmethod
    def sample(self, distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
        """The sample that noise makes: a function of the distribution and of the noise alone.

        Args:
            distribution: As `distribution` gives it.
            noise: A number for each value; the family says of which distribution.
        """


_Family = TypeVar("_Family", bound=Family)


def get(
    kind: str, identifier: str | _Family, *, family: type[Any], by_name: dict[str, type[_Family]]
) -> _Family:
    """The family of a name, or the family itself.

    Args:
        kind: What it is to be, such as `"likelihood"`.
        identifier: A name, or an instance of `family`.
        family: What instances must be.
        by_name: The class of each name.

    Raises:
        InputError: If it is neither, or the class of that name needs arguments.
    """
    if isinstance(identifier, family):
        return identifier
    room = family.__module__.rpartition(".")[-1]
    if not (isinstance(identifier, str) and identifier in by_name):
        raise InputError(
            f"{kind} must be one of {', '.join(map(repr, by_name))}, or an instance of a class of "
            f"tfvae.{room}; got {identifier!r}"
        )
    chosen = by_name[identifier]
    try:
        return chosen()
    except TypeError as error:
        raise InputError(
            f"{kind} {identifier!r} needs arguments: give tfvae.{room}.{chosen.__name__}(...)"
        ) from error
