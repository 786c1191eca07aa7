"""Many images and many samples in passes of bounded memory, with a progress bar."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from tfvae.common.errors import InputError
from tfvae.common.images import check_binary_images
from tfvae.common.seeds import stateless_seed
from tfvae.vae import VAE

# Measured on two cores: larger passes leave the cache, smaller ones wait for each operation.
_LOGITS_PER_PASS = 1_600_000
_IMAGES_PER_PASS = 32


def latents_per_pass(vae: VAE) -> int:
    """How many latents to decode at once, so that time and memory are well used.

    Args:
        vae: The model, whose images may be of any size.

    Returns:
        At least 1.
    """
    return max(1, _LOGITS_PER_PASS // math.prod(vae.image_shape))


def over_images(
    vae: VAE,
    images: Any,
    num_samples: int,
    seed: int | tf.Tensor | None,
    estimate: Callable[..., Any],
    *,
    verbose: bool | None = None,
    along: tf.Tensor | None = None,
) -> Any:
    """Applies an estimate to all images, a few at a time, with a progress bar.

    Args:
        vae: The model.
        images: An array or a `tf.data.Dataset`, as for `log_likelihood`.
        num_samples: How many latents per image will be decoded.
        seed: As for `log_likelihood`, or a pair of integers.
        estimate: From some images and a seed pair (and their rows of `along`, where that is given)
            to a tensor `[images, ...]` or a structure of such tensors.
        verbose: Whether to show the bar; None shows it for data sets.
        along: `[n, ...]`, what else there is of each image.

    Returns:
        The results of all images, `[n, ...]` or a structure of such tensors.

    Raises:
        InputError: If the images are not binary images of the model, or none.
    """
    seed = seed if tf.is_tensor(seed) else stateless_seed(seed)
    size = max(1, min(_IMAGES_PER_PASS, latents_per_pass(vae)))
    if num_samples * size < latents_per_pass(vae):
        size = latents_per_pass(vae) // num_samples
    results, row = [], 0
    shown = isinstance(images, tf.data.Dataset) if verbose is None else verbose
    with _progress(shown) as progress:
        task = progress.add_task("estimating", total=_count_batches(images))
        for batch in _batches(images, vae.image_shape):
            for start in range(0, batch.shape[0], size):
                part = tf.cast(batch[start : start + size], vae.distribution_dtype)
                more = () if along is None else (along[row : row + len(part)],)
                part_seed = tf.random.experimental.stateless_fold_in(seed, len(results))
                results.append(estimate(part, part_seed, *more))
                row += len(part)
                progress.advance(task, len(part) / len(batch))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)


def _batches(images, image_shape) -> Iterator[tf.Tensor]:
    if not isinstance(images, tf.data.Dataset):
        yield check_binary_images(images, image_shape)
        return
    empty = True
    for batch in images:
        empty = False
        if isinstance(batch, tuple):
            batch = keras.utils.unpack_x_y_sample_weight(batch)[0]
        yield check_binary_images(batch, image_shape)
    if empty:
        raise InputError("the data set of images is empty: give at least one batch")


def _count_batches(images):
    cardinality = int(images.cardinality()) if isinstance(images, tf.data.Dataset) else 1
    return cardinality if cardinality >= 0 else None


def _progress(shown):
    return Progress(console=Console(stderr=True), disable=not shown)
