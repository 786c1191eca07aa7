"""What passes back through a tensor: other gradients than those of its value."""

from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd


def with_gradient_times(latents: tf.Tensor, weights: Callable[[], tf.Tensor]) -> tf.Tensor:
    """The latents as they are; their gradient is multiplied by weights known only by then.

    Args:
        latents: `[num_samples, batch, latent_dim]`.
        weights: Gives `[num_samples, batch]`; called when the gradient is asked for.
    """

    @tf.custom_gradient
    def identity(latents):
        return tf.identity(latents), lambda gradient: gradient * weights()[..., tf.newaxis]

    return identity(latents)


def with_gradient_of(value: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The value to the last digit, with the gradient of the other, which must be finite."""
    return tf.stop_gradient(value) + (other - tf.stop_gradient(other))


def without_gradient(distribution: tfd.Distribution) -> tfd.Distribution:
    """The distribution with parameters that pass no gradient on."""
    return tf.nest.map_structure(tf.stop_gradient, distribution, expand_composites=True)
