"""What counts as a batch of images, and the sentence that a user reads when something else came."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.common.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

_ImageShape = tuple[int, int, int]


def check_images(
    images: Any, image_shape: _ImageShape, name: str = "images", *, nonempty: bool = False
) -> "tf.Tensor":
    """Returns images as a tensor, after checking all that can be known of them.

    Dtype, rank and shape are always checked; the values only where they are known, which inside
    of a `tf.function` they are not.

    Args:
        images: `[batch, height, width, channels]`, floating, values in [0, 1].
        image_shape: The expected `(height, width, channels)`.
        name: What the error calls them.
        nonempty: Whether there must be at least one image.

    Returns:
        The images, `[batch, height, width, channels]`, of their own dtype.

    Raises:
        InputError: If they are something else: what came, what was expected and what to do.
    """
    # Not at the top: the client of a server checks its images too, and does without TensorFlow.
    import tensorflow as tf

    return _checked(images, tf.convert_to_tensor, image_shape, name, nonempty=nonempty)


def check_binary_images(images: Any, image_shape: _ImageShape, name: str = "images") -> "tf.Tensor":
    """Returns images as a tensor, after checking that a Bernoulli likelihood is defined for them.

    Args:
        images: `[batch, height, width, channels]`, floating, 0 or 1, at least one image.
        image_shape: The expected `(height, width, channels)`.
        name: What the error calls them.

    Returns:
        The images, `[batch, height, width, channels]`, of their own dtype.

    Raises:
        InputError: If they are something else: what came, what was expected and what to do.
    """
    images = check_images(images, image_shape, name, nonempty=True)
    try:
        check_image_array(images, image_shape, name, binary=True)
    except InputError as error:
        raise InputError(
            f"{error}. A Bernoulli likelihood is a probability of images of 0 and 1 alone: of a "
            "gray value, x log p + (1 - x) log(1 - p) is a cross-entropy, not a log-probability"
        ) from error
    return images


def check_image_array(
    images: Any,
    image_shape: _ImageShape | None,
    name: str = "images",
    *,
    floating: bool = True,
    binary: bool = False,
    nonempty: bool = False,
) -> np.ndarray:
    """Does what `check_images` does without TensorFlow, and returns an array.

    The images may have any shape if `image_shape` is None, any type of numbers if not `floating`,
    and only the values 0 and 1 if `binary`.
    """
    return _checked(
        images,
        np.asarray,
        image_shape,
        name,
        floating=floating,
        binary=binary,
        nonempty=nonempty,
    )


def _checked(images, convert, image_shape, name, *, floating=True, binary=False, nonempty=False):
    kind = "0s and 1s" if binary else f"{'floats' if floating else 'numbers'} in [0, 1]"
    expected = f"{name} must be {kind} of shape {_batch_of(image_shape)}"
    try:
        images = convert(images)
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected}; got {type(images).__name__}: {error}") from error
    # Inside of a graph, the shape may be unknown, and the values are.
    shape = None if getattr(images.shape, "rank", 0) is None else tuple(images.shape)
    values = _values(images)
    remedies = [
        *_remedies_of_values(images.dtype.name, values, floating, binary),
        *_remedies_of_shape(shape, image_shape),
    ]
    if remedies:
        shape = "unknown" if shape is None else list(shape)
        got = f"{images.dtype.name} of shape {shape}{_extremes(values)}"
        raise InputError(f"{expected}; got {got}: {' and '.join(remedies)}")
    if nonempty and 0 in shape:
        raise InputError(f"{name} are empty: shape {list(shape)}; give at least one image")
    return images


def _values(images):
    """The values in a type that NumPy can compare, None where there are none to compare."""
    if not isinstance(images, np.ndarray):
        images = np.asarray(images.numpy() if hasattr(images, "numpy") else [])
    if "float" in images.dtype.name:
        images = images.astype(np.float32, copy=False)
    return images if images.size and images.dtype.kind in "fiub" else None


def _remedies_of_values(dtype, values, floating, binary):
    if "float" not in dtype:
        if "int" not in dtype and dtype != "bool":
            return ["give numbers"]
        if floating:
            is_small = dtype == "bool" or (values is not None and values.max() <= 1)
            return ["cast to float32" if is_small else "divide by 255"]
    if values is None:
        return []
    if not np.isfinite(values).all():
        return ["remove NaN and infinity"]
    if values.min() < 0 or values.max() > 1:
        return ["divide by 255" if values.min() >= 0 and values.max() > 2 else "scale to [0, 1]"]
    # Not assigned within the condition: AutoGraph, which sees this function too, cannot read that.
    gray = np.count_nonzero((values != 0) & (values != 1)) if binary else 0
    if gray:
        return [
            f"binarize the {gray} of {values.size} values between 0 and 1, by a threshold "
            "(`images > 0.5`, cast to float32) or by drawing each pixel"
        ]
    return []


def _remedies_of_shape(shape, image_shape):
    if shape is None:
        return ["give the tensor a static rank, as `tf.ensure_shape` does"]
    if _fits(shape, (None, *(image_shape or (None, None, None)))):
        return []
    if image_shape is None:
        return ["give them 4 axes"]
    if image_shape[-1:] == (1,) and _fits(shape, (None, *image_shape[:-1])):
        return ["add a channel axis"]
    if _fits(shape, image_shape):
        return ["add a batch axis"]
    if _fits(shape, (None, math.prod(image_shape))):
        return [f"reshape to {_batch_of(image_shape).replace('batch', '-1')}"]
    if len(shape) == 1 + len(image_shape):
        return [f"resize the images, or take a model with image_shape={tuple(shape[1:])}"]
    return [f"give them {1 + len(image_shape)} axes"]


def _fits(shape, expected):
    """Whether a shape may be the expected one, where None stands for any size."""
    return len(shape) == len(expected) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(shape, expected, strict=True)
    )


def _batch_of(image_shape):
    sizes = image_shape or ("height", "width", "channels")
    return f"[{', '.join(map(str, ('batch', *sizes)))}]"


def _extremes(values):
    if values is None:
        return ""
    if not np.isfinite(values).all():
        return f" with {np.count_nonzero(~np.isfinite(values))} values not finite"
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        return f" with maximum {high:g}"
    return f" with minimum {low:g}" + (f" and maximum {high:g}" if high > 1 else "")
