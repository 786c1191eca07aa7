"""A model becomes the next version of a served one."""

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.errors import InputError
from tfvae.serving import messages
from tfvae.serving.signatures import IMAGE_DTYPES, signatures
from tfvae.serving.versions import add_version, prune_versions
from tfvae.vae import VAE


def export_saved_model(
    vae: VAE,
    folder: str | os.PathLike,
    *,
    image_dtype: str = "float32",
    num_importance_samples: int = 256,
    warmup_batch_sizes: Sequence[int] = (1, 8, 64),
    prune: int | None = None,
) -> Path:
    """Exports a model as the next version of a folder that TensorFlow Serving reads.

    The signatures are `encode` (also `serving_default`), `decode`, `reconstruct`, `sample` and
    `score`; all of them take batches of any size in dimension 0, and give the same outputs for
    the same inputs. The version appears whole or not at all, with warm-up requests inside.

    Args:
        vae: The model; its optimizer and metrics stay behind.
        folder: `saved_models/<model>`; the version is the next integer in it.
        image_dtype: The type of the images that the server takes: `"float32"`, values in [0, 1],
            or `"int8"`, values 0 and 1, a quarter of the size.
        num_importance_samples: Latents per image from which `score` estimates log p(x).
        warmup_batch_sizes: Before a server answers others, it sends itself a batch of each size
            to each signature.
        prune: How many of the newest versions stay, this one included; all if None.

    Returns:
        The path of the new version, `<folder>/<version>`.

    Raises:
        InputError: If `vae` is not a VAE or has weights that are not finite, an option is not
            possible, or the folder is not one of versions.
        OSError: If the folder cannot be written to.

    Example:
        >>> tfvae.export_saved_model(vae, "saved_models/mnist")
        PosixPath('saved_models/mnist/1')
    """
    check_exportable(vae)
    check_choice("image_dtype", image_dtype, IMAGE_DTYPES)
    num_importance_samples = check_integer(
        "num_importance_samples", num_importance_samples, minimum=1, maximum=2**31 - 1
    )
    for size in warmup_batch_sizes:
        check_integer("each of warmup_batch_sizes", size, minimum=1)
    if prune is not None:
        check_integer("prune", prune, minimum=1)

    def write(path):
        served = signatures(
            vae, image_dtype=image_dtype, num_importance_samples=num_importance_samples
        )
        archive = keras.export.ExportArchive()
        # The variables that the endpoints use are tracked; `track` would write each twice.
        for name, function in served.items():
            archive.add_endpoint(name, function)
        try:
            archive.write_out(path, verbose=False)
            if warmup_batch_sizes:
                _write_warmup_requests(path / "assets.extra", served, warmup_batch_sizes)
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, error.message, str(path)) from error

    version = add_version(folder, write)
    if prune is not None:
        prune_versions(folder, keep=prune)
    return version


def check_exportable(vae: Any) -> None:
    """Raises `InputError` if something is not a VAE, or one whose training has failed."""
    if not isinstance(vae, VAE):
        raise InputError(f"only a tfvae.VAE can be exported; got {type(vae).__name__}")
    for weight in vae.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"the weights {weight.path} of the model have NaN or infinity, so that it answers "
                "nothing: export one whose training has not failed"
            )


def _write_warmup_requests(folder, functions, batch_sizes):
    """Writes a request of zeros for each batch size and signature, where the server looks."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as writer:
        for batch_size, name in itertools.product(batch_sizes, functions):
            record = messages.PredictionLog()
            request = record.predict_log.request
            request.model_spec.signature_name = name
            for spec in functions[name].input_signature:
                # One zero stands for all on the wire, which keeps the file small.
                zeros = tf.make_tensor_proto(0, spec.dtype, (batch_size, *spec.shape[1:]))
                tensor = messages.TensorProto.FromString(zeros.SerializeToString())
                request.inputs.add(key=spec.name, value=tensor)
            writer.write(record.SerializeToString())
