"""Estimates for many images and samples, in batches of bounded memory, with a progress bar."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from rich.console import Console
from rich.progress import Progress
from tensorflow_probability import distributions as tfd

from tfvae.common.errors import InputError
from tfvae.common.images import check_images
from tfvae.common.seeds import stateless_seed
from tfvae.vae import VAE

# Measured on two cores: larger passes leave the cache, smaller ones wait for each operation.
_LOGITS_PER_PASS = 1_600_000
_IMAGES_PER_BATCH = 32

# Convolutions over a whole test set at once would fill the memory.
_IMAGES_PER_ENCODING = 512


def latents_per_pass(vae: VAE) -> int:
    """How many latents to decode at once, at least 1, so that time and memory are well used."""
    return max(1, _LOGITS_PER_PASS // math.prod(vae.image_shape))


def estimate_in_batches(
    vae: VAE,
    images: Any,
    num_samples: int,
    seed: int | tf.Tensor | None,
    estimate: Callable[..., Any],
    *,
    per_image: Any = None,
    verbose: bool | None = None,
) -> Any:
    """Applies an estimate to all images, a few at a time, and joins the results.

    `estimate` takes some of the images and a seed pair, and their part of `per_image` where that
    is given, a tensor `[n, ...]` or a distribution of batch shape `[n]`; it decodes `num_samples`
    latents per image and returns a structure of tensors or distributions with a row per image.
    The results have the dtype of the model's distributions, whatever dtype they were added up in.
    """
    seed = seed if tf.is_tensor(seed) else stateless_seed(seed)
    is_dataset = isinstance(images, tf.data.Dataset)
    num_batches = int(images.cardinality()) if is_dataset else 1
    latents = latents_per_pass(vae)
    size = max(1, min(_IMAGES_PER_BATCH, latents), latents // num_samples)
    results: list[Any] = []
    row = 0
    is_shown = is_dataset if verbose is None else verbose
    with Progress(console=Console(stderr=True), disable=not is_shown) as progress:
        task = progress.add_task("estimating", total=num_batches if num_batches >= 0 else None)
        for batch in _batches(vae, images):
            for start in range(0, batch.shape[0], size):
                part = tf.cast(batch[start : start + size], vae.distribution_dtype)
                more = () if per_image is None else (per_image[row : row + len(part)],)
                part_seed = tf.random.fold_in(seed, len(results))
                results.append(estimate(part, part_seed, *more))
                row += len(part)
                progress.advance(task, len(part) / len(batch))
    return _concatenate(results, vae.distribution_dtype)


def encode_in_batches(vae: VAE, images: ArrayLike) -> tfd.Distribution:
    """q(Z|x) of images `[n, height, width, channels]` in [0, 1], of batch shape `[n]`."""
    images = np.asarray(images)
    if len(images) == 0:
        raise InputError("there are no images to encode; give at least one")
    starts = range(0, len(images), _IMAGES_PER_ENCODING)
    parts = [vae.encode(images[i : i + _IMAGES_PER_ENCODING]) for i in starts]
    return _concatenate(parts, vae.distribution_dtype)


def _concatenate(parts, dtype):
    """Joins tensors, distributions or structures of them along the first dimension."""
    return tf.nest.map_structure(
        lambda *tensors: tf.cast(tf.concat(tensors, axis=0), dtype), *parts, expand_composites=True
    )


def _batches(vae, images):
    batch = None
    for batch in images if isinstance(images, tf.data.Dataset) else [(images,)]:
        of_images = keras.utils.unpack_x_y_sample_weight(batch)[0]
        yield check_images(of_images, vae.image_shape, binary=True, nonempty=True)
    if batch is None:
        raise InputError("the data set of images is empty: give at least one batch")
