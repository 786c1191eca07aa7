"""The requests that a server sends itself before it answers others."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tfvae.serving import messages


def write_requests(
    version: Path,
    inputs: Mapping[str, Sequence[tf.TensorSpec]],
    *,
    batch_sizes: Sequence[int],
) -> None:
    """Writes the warm-up requests of a SavedModel, where TensorFlow Serving looks for them.

    Args:
        version: The SavedModel.
        inputs: What each signature takes, by its name.
        batch_sizes: Each signature gets a request of each size; with none, nothing is written.
    """
    if not batch_sizes:
        return
    folder = version / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for record in _records(inputs, batch_sizes):
            writer.write(record.SerializeToString())


def _records(
    inputs: Mapping[str, Sequence[tf.TensorSpec]], batch_sizes: Sequence[int]
) -> Iterator[messages.PredictionLog]:
    for batch_size in batch_sizes:
        for signature, specs in inputs.items():
            record = messages.PredictionLog()
            request = record.predict_log.request
            request.model_spec.signature_name = signature
            for spec in specs:
                _fill(request.inputs[spec.name], spec, batch_size)
            yield record


def _fill(tensor, spec, batch_size):
    """Zeros of a batch: one value, which stands for all, so that the file stays small."""
    tensor.dtype = spec.dtype.as_datatype_enum
    for size in (batch_size, *spec.shape[1:]):
        tensor.tensor_shape.dim.add(size=size)
    field = {tf.float32: "float_val", tf.int8: "int_val", tf.int64: "int64_val"}[spec.dtype]
    getattr(tensor, field).append(0)
