"""What counts as a batch of images, and the sentence a user reads when something else came."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError


def check_images(images: Any, image_shape: tuple[int, int, int], name: str = "images") -> tf.Tensor:
    """Images as a tensor, after checking all that can be known of them.

    Dtype, rank and shape are checked always; the values where they are there to be seen, which
    inside of a `tf.function` they are not.

    Args:
        images: `[batch, height, width, channels]`, floating, values in [0, 1].
        image_shape: The expected `(height, width, channels)`.
        name: What the error calls them.

    Returns:
        The images, `[batch, height, width, channels]`, of their own dtype.

    Raises:
        InputError: If they are something else: what came, what was expected and what to do.
    """
    try:
        images = tf.convert_to_tensor(images)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be one array of floats in [0, 1] of shape "
            f"{_batch_of(image_shape)}; got {type(images).__name__}: {error}"
        ) from error
    remedies = _remedies(images, tuple(image_shape))
    if remedies:
        raise InputError(
            f"{name} must be floats in [0, 1] of shape {_batch_of(image_shape)}; "
            f"got {_description(images)}: {' and '.join(remedies)}"
        )
    return images


def check_binary_images(
    images: Any, image_shape: tuple[int, int, int], name: str = "images"
) -> tf.Tensor:
    """Images as a tensor, after checking that a Bernoulli likelihood has a probability for them.

    Args:
        images: `[batch, height, width, channels]`, floating, 0 or 1, at least one image.
        image_shape: The expected `(height, width, channels)`.
        name: What the error calls them.

    Returns:
        The images, `[batch, height, width, channels]`, of their own dtype.

    Raises:
        InputError: If they are something else: what came, what was expected and what to do.
    """
    images = check_images(images, image_shape, name=name)
    values = _values(images)
    if values.size == 0:
        raise InputError(f"{name} are empty: shape {list(images.shape)}; give at least one image")
    grey = np.count_nonzero((values != 0) & (values != 1))
    if grey:
        raise InputError(
            f"{name} must be binary for a likelihood; {grey} of {values.size} values lie between "
            "0 and 1. A Bernoulli likelihood is a probability of images of 0 and 1 alone: of a "
            "grey value, x log p + (1 - x) log(1 - p) is a cross-entropy, not a "
            "log-probability. Binarise them, by a threshold (`images > 0.5`, cast to float32) "
            "or by drawing each pixel"
        )
    return images


def _batch_of(image_shape):
    return "[" + ", ".join(["batch", *map(str, image_shape)]) + "]"


def _remedies(images, image_shape):
    """What to do about these images, nothing if they are right."""
    remedies = []
    values = _values(images)
    if not images.dtype.is_floating:
        if not (images.dtype.is_integer or images.dtype.is_bool):
            remedies.append("give numbers")
        elif images.dtype.is_bool or (values is not None and values.size and values.max() <= 1):
            remedies.append("cast to float32")
        else:
            remedies.append("divide by 255")
    elif values is not None and values.size:
        if not np.isfinite(values).all():
            remedies.append("remove NaN and infinity")
        elif values.min() < 0:
            remedies.append("scale to [0, 1]")
        elif values.max() > 1:
            remedies.append("divide by 255" if values.max() > 2 else "scale to [0, 1]")
    shape = images.shape
    if shape.rank is None:
        remedies.append("give the tensor a static rank, as `tf.ensure_shape` does")
    elif shape.rank == 3 and shape[1:].is_compatible_with(image_shape[:2]) and image_shape[2] == 1:
        remedies.append("add a channel axis")
    elif shape.rank == 3 and shape.is_compatible_with(image_shape):
        remedies.append("add a batch axis")
    elif shape.rank == 2 and shape[1:].is_compatible_with([np.prod(image_shape)]):
        remedies.append(f"reshape to {_batch_of(image_shape).replace('batch', '-1')}")
    elif not shape.is_compatible_with((None, *image_shape)):
        remedies.append(f"build the model with image_shape={tuple(shape[1:])} or resize the images")
    return remedies


def _values(images):
    """The values where they are there to be seen, in a type that NumPy can compare."""
    known = images.dtype.is_floating or images.dtype.is_integer or images.dtype.is_bool
    if not known or not hasattr(images, "numpy"):
        return None
    return images.numpy().astype(np.float32) if images.dtype.is_floating else images.numpy()


def _description(images):
    values = _values(images)
    shape = list(images.shape) if images.shape.rank is not None else "unknown"
    text = f"{images.dtype.name} of shape {shape}"
    if values is None or not values.size:
        return text
    if images.dtype.is_floating and not np.isfinite(values).all():
        return f"{text} with {np.count_nonzero(~np.isfinite(values))} values not finite"
    if values.min() < 0:
        text += f" with minimum {values.min():g}"
        return text + (f" and maximum {values.max():g}" if values.max() > 1 else "")
    return f"{text} with maximum {values.max():g}"
