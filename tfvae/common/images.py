"""What counts as a batch of images, and the sentence that a user reads when something else came."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.common.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

_ImageShape = tuple[int, int, int]


def check_images(
    images: Any,
    image_shape: _ImageShape,
    name: str = "images",
    *,
    binary: bool = False,
    nonempty: bool = False,
) -> "tf.Tensor":
    """Returns images as a tensor, after checking all that can be known of them.

    Inside of a `tf.function` that is their type, rank and shape. The arguments are those of
    `check_image_array`.
    """
    # Not at the top: the client of a server checks its images too, and does without TensorFlow.
    import tensorflow as tf

    return _checked(images, tf.convert_to_tensor, image_shape, name, True, binary, nonempty)


def check_image_array(
    images: Any,
    image_shape: _ImageShape | None,
    name: str = "images",
    *,
    floating: bool = True,
    binary: bool = False,
    nonempty: bool = False,
) -> np.ndarray:
    """Returns images as an array, after checking them, without TensorFlow.

    Args:
        images: `[batch, height, width, channels]`, in [0, 1].
        image_shape: The expected `(height, width, channels)`; any if None.
        name: What the error calls them.
        floating: Whether they must be floating; else, any numbers.
        binary: Whether the values must be 0 and 1, which are all that a Bernoulli likelihood is a
            probability of.
        nonempty: Whether there must be at least one image.

    Raises:
        InputError: If they are something else: what came, what was expected and what to do.
    """
    return _checked(images, np.asarray, image_shape, name, floating, binary, nonempty)


def _checked(images, convert, image_shape, name, floating, binary, nonempty):
    kind = "0s and 1s" if binary else f"{'floats' if floating else 'numbers'} in [0, 1]"
    expected = f"{name} must be {kind} of shape {_batch_of(image_shape)}"
    try:
        images = convert(images)
        shape = tuple(images.shape)
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected}; got {type(images).__name__}: {error}") from error
    values = _values(images)
    remedies = [
        _remedy_of_values(images.dtype.name, values, floating, binary),
        _remedy_of_shape(shape, image_shape),
    ]
    if any(remedies):
        got = f"{images.dtype.name} of shape {list(shape)}{_extremes(values)}"
        raise InputError(f"{expected}; got {got}: {' and '.join(filter(None, remedies))}")
    if nonempty and 0 in shape:
        raise InputError(f"{name} are empty: shape {list(shape)}; give at least one image")
    return images


def _values(images):
    """The values in a type that NumPy can compare, None where there are none to compare."""
    if not isinstance(images, np.ndarray):
        # Inside of a graph there are none.
        images = np.asarray(images.numpy() if hasattr(images, "numpy") else [])
    if "float" in images.dtype.name:
        images = images.astype(np.float32, copy=False)
    return images if images.size and images.dtype.kind in "fiub" else None


def _remedy_of_values(dtype, values, floating, binary):
    if not ("float" in dtype or "int" in dtype or dtype == "bool"):
        return "give numbers"
    if floating and "float" not in dtype:
        is_large = dtype != "bool" and (values is None or values.max() > 1)
        return "divide by 255" if is_large else "cast to float32"
    if values is None:
        return None
    if not np.isfinite(values).all():
        return "remove NaN and infinity"
    if values.min() < 0 or values.max() > 1:
        return "divide by 255" if values.min() >= 0 and values.max() > 2 else "scale to [0, 1]"
    # Not assigned within the condition: AutoGraph, which sees this function too, cannot read that.
    gray = np.count_nonzero((values != 0) & (values != 1)) if binary else 0
    if gray:
        return (
            f"binarize the {gray} of {values.size} values between 0 and 1, by a threshold "
            "(`images > 0.5`, cast to float32) or by drawing each pixel. A Bernoulli likelihood is "
            "a probability of 0 and 1 alone: of a gray value, x log p + (1 - x) log(1 - p) is a "
            "cross-entropy, not a log-probability"
        )
    return None


def _remedy_of_shape(shape, image_shape):
    if image_shape is None:
        return None if len(shape) == 4 else "give them 4 axes"
    remedies = {
        (None, *image_shape): None,
        image_shape: "add a batch axis",
        (None, math.prod(image_shape)): f"reshape to {_batch_of(image_shape, batch=-1)}",
        (None,) * 4: f"resize the images, or take a model with image_shape={shape[1:]}",
    }
    if image_shape[-1] == 1:
        remedies[None, *image_shape[:-1]] = "add a channel axis"
    fitting = (remedy for known, remedy in remedies.items() if _fits(shape, known))
    return next(fitting, "give them 4 axes")


def _fits(shape, expected):
    """Whether a shape may be the expected one, where None stands for any size."""
    return len(shape) == len(expected) and all(
        None in sizes or sizes[0] == sizes[1] for sizes in zip(shape, expected, strict=True)
    )


def _batch_of(image_shape, batch="batch"):
    return f"[{', '.join(map(str, (batch, *(image_shape or ('height', 'width', 'channels')))))}]"


def _extremes(values):
    if values is None:
        return ""
    if not np.isfinite(values).all():
        return f" with {np.count_nonzero(~np.isfinite(values))} values not finite"
    low, high = float(values.min()), float(values.max())
    return f" with {f'minimum {low:g} and ' if low < 0 else ''}maximum {high:g}"
