"""NumPy arrays to and from the tensors of the wire."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tfvae.common.errors import InputError
from tfvae.serving import messages

# TensorFlow's number of a type, and the field for values that do not come as bytes.
_DTYPES = {
    1: (np.dtype("<f4"), "float_val"),
    2: (np.dtype("<f8"), "double_val"),
    3: (np.dtype("<i4"), "int_val"),
    6: (np.dtype("i1"), "int_val"),
    9: (np.dtype("<i8"), "int64_val"),
}
_NUMBERS = {dtype: number for number, (dtype, _) in _DTYPES.items()}


class TensorSpec(NamedTuple):
    """What a signature takes.

    Attributes:
        dtype: Of the array.
        shape: Of one row, without the batch.
    """

    dtype: np.dtype
    shape: tuple[int, ...]


def spec_of(info: messages.TensorInfo) -> TensorSpec:
    """The specification of a signature's input.

    Args:
        info: As the server describes it.

    Returns:
        The specification.

    Raises:
        ValueError: If no array can be such an input.
    """
    if info.dtype not in _DTYPES or info.tensor_shape.unknown_rank or not info.tensor_shape.dim:
        raise ValueError(f"an input of type {info.dtype} and shape {info.tensor_shape}")
    return TensorSpec(_DTYPES[info.dtype][0], tuple(d.size for d in info.tensor_shape.dim[1:]))


def fill_tensor(tensor: messages.TensorProto, array: np.ndarray) -> None:
    """Writes an array into a message.

    Args:
        tensor: The message, empty.
        array: Of one of the types above.
    """
    tensor.dtype = _NUMBERS[array.dtype]
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = array.tobytes()


def array_of(tensor: messages.TensorProto) -> np.ndarray:
    """Reads an array from a message.

    Args:
        tensor: The message.

    Returns:
        The array, which may be written to.

    Raises:
        ValueError: If its type is unknown, or its values are not as many as its shape says.
    """
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"a tensor of type {tensor.dtype}")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape).copy()
    values = np.asarray(getattr(tensor, field), dtype)
    # Trailing equal values need not be sent: the last one stands for the rest.
    missing = int(np.prod(shape)) - values.size
    if missing > 0 and values.size:
        values = np.pad(values, (0, missing), mode="edge")
    return values.reshape(shape)


def checked_images(images: ArrayLike, spec: TensorSpec) -> np.ndarray:
    """Images as the server takes them, after checking them.

    Args:
        images: `[batch, height, width, channels]`: floating, values in [0, 1]; where the server
            takes int8, of any type, values 0 and 1.
        spec: What the server takes.

    Returns:
        The images, of the type of `spec`.

    Raises:
        InputError: If they are something else.
    """
    images = _array(images, "images")
    binary = spec.dtype.kind == "i"
    expected = (
        f"images must be {'0s and 1s' if binary else 'floats in [0, 1]'} of shape "
        f"{_batch_of(spec.shape)}; got {images.dtype} of shape {list(images.shape)}"
    )
    if images.shape[1:] != spec.shape or images.ndim == 0:
        raise InputError(f"{expected}: {_shape_remedy(images.shape, spec.shape)}")
    if images.dtype.kind not in ("biuf" if binary else "f"):
        raise InputError(f"{expected}: cast them{'' if binary else ' to float32'}")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(f"{expected} with values not finite: remove NaN and infinity")
    if images.size and (images.min() < 0 or images.max() > 1):
        raise InputError(
            f"{expected} with minimum {images.min():g} and maximum {images.max():g}: "
            f"{'divide by 255' if images.max() > 2 else 'scale to [0, 1]'}"
        )
    if binary and not np.isin(images, (0, 1)).all():
        raise InputError(f"{expected} with values between: binarise them, as in `images > 0.5`")
    return images.astype(spec.dtype)


def checked_latents(latents: ArrayLike, spec: TensorSpec) -> np.ndarray:
    """Latents as the server takes them, after checking them.

    Args:
        latents: `[batch, latent_dim]`, numbers.
        spec: What the server takes.

    Returns:
        The latents, of the type of `spec`.

    Raises:
        InputError: If they are something else.
    """
    latents = _array(latents, "latents")
    expected = (
        f"latents must be finite numbers of shape {_batch_of(spec.shape)}; "
        f"got {latents.dtype} of shape {list(latents.shape)}"
    )
    if latents.shape[1:] != spec.shape or latents.ndim == 0:
        raise InputError(expected)
    if latents.dtype.kind not in "iuf":
        raise InputError(expected)
    if not np.isfinite(latents).all():
        raise InputError(f"{expected} with values not finite: remove NaN and infinity")
    return latents.astype(spec.dtype)


def checked_seeds(seeds: ArrayLike, count: int | None = None) -> np.ndarray:
    """Seeds as the server takes them, after checking them.

    Args:
        seeds: `[batch]`, integers from -2**63 to 2**63 - 1.
        count: How many there must be; any number if None.

    Returns:
        int64 `[batch]`.

    Raises:
        InputError: If they are something else.
    """
    try:
        array = np.asarray(seeds)
        usable = array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
        as_integers = array.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        usable = False
    if not usable or not (as_integers == array).all():
        raise InputError(
            "seeds must be a sequence of integers from -2**63 to 2**63 - 1, one an image; "
            f"got {seeds!r:.80}"
        )
    if count is not None and len(array) != count:
        raise InputError(f"{count} images need {count} seeds, one an image; got {len(array)}")
    return as_integers


def _array(values, name):
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be one array; got {type(values).__name__}: {error}"
        ) from error


def _batch_of(shape: Sequence[int]) -> str:
    return "[" + ", ".join(["batch", *map(str, shape)]) + "]"


def _shape_remedy(shape, expected):
    if shape == expected:
        return "add a batch axis"
    if shape[1:] == expected[:-1] and expected[-1] == 1:
        return "add a channel axis"
    if len(shape) == 2 and shape[1] == np.prod(expected):
        return f"reshape to {_batch_of(expected).replace('batch', '-1')}"
    return "the server's model has images of another shape; resize them or ask another model"
