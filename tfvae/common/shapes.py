"""The shapes that an encoder, a decoder and their latents must agree on."""

from typing import Any

import keras
import tensorflow as tf

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError

ImageShape = tuple[int, int, int]


def check_image_shape(image_shape: Any) -> ImageShape:
    """The `(height, width, channels)` as Python integers, or `InputError` if they are none."""
    try:
        height, width, channels = image_shape
    except (TypeError, ValueError) as error:
        raise InputError(
            f"image_shape must be (height, width, channels); got {image_shape!r}"
        ) from error
    return (
        check_integer("the height of image_shape", height, minimum=1),
        check_integer("the width of image_shape", width, minimum=1),
        check_integer("the channels of image_shape", channels, minimum=1),
    )


def input_shape(network: keras.Model | None) -> tuple[int, ...] | None:
    """The shape without the batch of what a network takes, None while that is not known."""
    shape = getattr(network, "input_shape", None)
    return None if shape is None or None in shape[1:] else tuple(shape[1:])


def latent_dim_of(
    encoder: keras.Model | None, decoder: keras.Model | None, image_shape: ImageShape
) -> int | None:
    """The number of latent dimensions that the networks have, None where there are none."""
    if (latent_shape := input_shape(decoder)) is not None:
        return latent_shape[-1]
    if encoder is not None:
        return _output_shape("encoder", encoder, image_shape)[-1] // 2
    return None


def check_networks(
    encoder: keras.Model, decoder: keras.Model, image_shape: ImageShape, latent_dim: int
) -> None:
    """Checks that the networks fit each other, and builds those that were not built."""
    for part, network, taken, given, meaning in (
        ("encoder", encoder, image_shape, (2 * latent_dim,), "2 * latent_dim"),
        ("decoder", decoder, (latent_dim,), image_shape, "image_shape"),
    ):
        output = _output_shape(part, network, taken)
        if output != given:
            raise InputError(
                f"the {part} must give outputs of shape {given} ({meaning}); it gives {output}"
            )


def _output_shape(part, network, shape):
    """The shape without the batch of what a network gives; builds it where it was not built."""
    if input_shape(network) not in (None, shape):
        raise InputError(
            f"the {part} must take inputs of shape {shape}; it takes {input_shape(network)}"
        )
    return tuple(network(keras.Input(shape)).shape[1:])


def check_latents(latents: tf.Tensor, latent_dim: int) -> tf.Tensor:
    """The latents as a tensor `[..., latent_dim]`, or `InputError` if they are something else."""
    latents = tf.convert_to_tensor(latents)
    shape = latents.shape
    is_batch = shape.rank not in (None, 0, 1) and shape[-1:].is_compatible_with([latent_dim])
    if not (is_batch and latents.dtype.is_floating):
        raise InputError(
            f"latents must be floats of shape [..., {latent_dim}], with a batch in front; got "
            f"{latents.dtype.name} of shape {shape}"
        )
    return latents
