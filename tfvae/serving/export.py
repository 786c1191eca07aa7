"""A model becomes the next version of a served one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.errors import InputError
from tfvae.serving import signatures, warmup
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
        image_dtype: Of the images that the server takes: `"float32"`, values in [0, 1], or
            `"int8"`, values 0 and 1, a quarter of the size.
        num_importance_samples: What `score` draws for the log-likelihood of each image.
        warmup_batch_sizes: A server sends itself a batch of each size to each signature before
            it answers others; none if empty.
        prune: How many of the newest versions stay, this one included; all if None.

    Returns:
        The path of the new version, `<folder>/<version>`.

    Raises:
        InputError: If `vae` is not a built VAE, an option is not possible, or the folder cannot
            be written to or is not one of versions.

    Example:
        >>> tfvae.export_saved_model(vae, "saved_models/mnist")
        PosixPath('saved_models/mnist/1')
    """
    _check_model(vae)
    check_choice("image_dtype", image_dtype, signatures.IMAGE_DTYPES)
    num_importance_samples = check_integer(
        "num_importance_samples", num_importance_samples, minimum=1
    )
    warmup_batch_sizes = [
        check_integer("each of warmup_batch_sizes", size, minimum=1) for size in warmup_batch_sizes
    ]
    if prune is not None:
        prune = check_integer("prune", prune, minimum=1)

    def write(path):
        _write(
            signatures.signatures(
                vae, image_dtype=image_dtype, num_importance_samples=num_importance_samples
            ),
            path=path,
            warmup_batch_sizes=warmup_batch_sizes,
        )

    version = add_version(folder, write)
    if prune is not None:
        prune_versions(folder, keep=prune)
    return version


def _write(served, *, path, warmup_batch_sizes):
    archive = keras.export.ExportArchive()
    # The variables that the endpoints use are tracked; `track` would write each a second time.
    for name, signature in served.items():
        archive.add_endpoint(name, signature.function)
    try:
        archive.write_out(path, verbose=False)
        warmup.write_requests(
            path,
            {name: signature.inputs for name, signature in served.items()},
            batch_sizes=warmup_batch_sizes,
        )
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _check_model(vae: Any) -> None:
    if not isinstance(vae, VAE):
        raise InputError(f"only a tfvae.VAE can be exported; got {type(vae).__name__}")
    for part in ("encoder", "decoder"):
        network = getattr(vae, part, None)
        if network is None or not network.built:
            raise InputError(
                f"the {part} has never been built, so there is nothing to export: call it on a "
                "batch, or train the model, first"
            )
