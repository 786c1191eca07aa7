"""What the signatures of a served model take and give: requests and answers are checked here."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.images import check_image_array
from tfvae.serving import messages

# The inputs and the outputs of each signature, and how many axes they have. What is called
# probabilities has the name mean where the likelihood is no Bernoulli.
SIGNATURES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "encode": ({"images": 4}, {"mean": 2, "stddev": 2}),
    "decode": ({"latents": 2}, {"probabilities": 4}),
    "reconstruct": ({"images": 4}, {"probabilities": 4}),
    "sample": ({"seed": 1}, {"images": 4, "probabilities": 4, "latents": 2}),
    "score": (
        {"images": 4, "seed": 1},
        {"elbo": 1, "log_likelihood": 1, "reconstruction": 1, "kl": 1},
    ),
}

_FLOAT32, _INT8, _INT64 = np.dtype("<f4"), np.dtype("i1"), np.dtype("<i8")
_INPUT_DTYPES = {"images": (_FLOAT32, _INT8), "latents": (_FLOAT32,), "seed": (_INT64,)}


class Tensor(NamedTuple):
    """The type of an input or output, and its shape without the batch."""

    dtype: np.dtype
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """The inputs and the outputs of a served signature, by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def bytes_per_row(self) -> int:
        """The size of a row of the request or of the answer, whichever is larger."""
        return max(
            sum(tensor.dtype.itemsize * math.prod(tensor.shape) for tensor in side.values())
            for side in self
        )


def read_signatures(definitions: Any) -> dict[str, Signature]:
    """Those signatures of a `SignatureDefMap` that are as `tfvae export` writes them, by name."""
    found = {}
    for entry in definitions.signature_def:
        inputs_and_outputs = SIGNATURES.get(entry.key)
        if inputs_and_outputs is not None:
            inputs = _read_tensors(inputs_and_outputs[0], entry.value.inputs, _INPUT_DTYPES)
            outputs = _read_tensors(inputs_and_outputs[1], entry.value.outputs, {})
            if inputs and outputs:
                found[entry.key] = Signature(inputs, outputs)
    return found


def _read_tensors(num_axes, entries, dtypes):
    """The tensors of these names, none if one of them is another than ours."""
    infos, tensors = {entry.key: entry.value for entry in entries}, {}
    for name, rank in num_axes.items():
        name = "mean" if name == "probabilities" and name not in infos else name
        try:
            dtype, (batch, *shape) = messages.dtype_and_shape(infos[name])
        except (KeyError, ValueError):
            return {}
        is_ours = dtype in dtypes.get(name, (_FLOAT32,)) and len(shape) == rank - 1
        if not is_ours or batch != -1 or min(shape, default=1) < 1:
            return {}
        tensors[name] = Tensor(dtype, tuple(shape))
    return tensors


def check_request(
    signature: Signature, inputs: Mapping[str, Any], *, binary: bool
) -> dict[str, np.ndarray]:
    """The inputs as the served model takes them, images of 0 and 1 alone if `binary`.

    Seeds that are not given are 0, 1, 2, ...

    Raises:
        InputError: If they are something else.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, (dtype, shape) in signature.inputs.items():
        if name == "images":
            image_shape, is_int = (shape[0], shape[1], shape[2]), dtype == _INT8
            array = check_image_array(
                inputs[name], image_shape, floating=not is_int, binary=binary or is_int
            )
        elif name == "latents":
            array = _check_latents(inputs[name], shape)
        else:
            count = len(arrays["images"]) if "images" in arrays else None
            array = _check_seed(inputs.get(name, range(count or 0)), count)
        arrays[name] = array.astype(dtype)
    return arrays


def _check_latents(latents, shape):
    try:
        latents = np.asarray(latents)
        given = f"{latents.dtype} of shape {list(latents.shape)}"
    except ValueError as error:
        latents, given = np.asarray(None), str(error)
    is_number = latents.dtype.kind in "iuf"
    if not is_number or latents.shape[1:] != shape or not np.isfinite(latents).all():
        sizes = ", ".join(map(str, ("batch", *shape)))
        raise InputError(f"latents must be finite numbers of shape [{sizes}]; got {given}")
    return latents


def _check_seed(seed, count):
    try:
        numbers = [check_integer("seed", number, minimum=-(2**63)) for number in seed]
    except (TypeError, InputError) as error:
        raise InputError(
            "seed must be a sequence of integers from -2**63 to 2**63 - 1, one per image; "
            f"got {seed!r:.80}"
        ) from error
    if count is not None and len(numbers) != count:
        raise InputError(f"{count} images need {count} seeds, one per image; got {len(numbers)}")
    return np.asarray(numbers, np.int64)


def read_answer(response: Any, signature: Signature, num_rows: int) -> dict[str, np.ndarray]:
    """The outputs in a `PredictResponse` to a request of so many rows.

    Raises:
        ValueError: If they are not those of the signature, or no model can have given them.
    """
    tensors, arrays = {entry.key: entry.value for entry in response.outputs}, {}
    for name, (dtype, shape) in signature.outputs.items():
        try:
            array = messages.array_of(tensors[name], dtype, (num_rows, *shape))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{name} is not {dtype} of shape {[num_rows, *shape]}") from error
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
        arrays[name] = array
    if (arrays.get("stddev", np.ones(())) <= 0).any():
        raise ValueError("stddev is not positive")
    if "probabilities" in arrays:
        probabilities, images = arrays["probabilities"], arrays.get("images", np.zeros(()))
        if probabilities.min() < 0 or probabilities.max() > 1:
            raise ValueError("probabilities is not in [0, 1]")
        if not np.isin(images, (0, 1)).all():
            raise ValueError("images has other values than 0 and 1")
    return arrays
