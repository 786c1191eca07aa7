"""Intensities to binary images: sampled anew each epoch, sampled once, cut at a half, or left."""

import hashlib
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

Binarization = Literal["dynamic", "fixed", "threshold", "none"]
BINARIZATIONS: tuple[str, ...] = get_args(Binarization)


def sample_binary(intensities: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Samples each pixel as a Bernoulli variable whose probability is the pixel's intensity.

    A function of its arguments alone. The probabilities are kept to within 2^-23, and the
    intensities 0 and 1 exactly.

    Args:
        intensities: float32 `[batch, h, w, c]`, in [0, 1].
        seed: int64 `[2]`.

    Returns:
        float32 `[batch, h, w, c]` of 0 and 1.

    References:
        R. Salakhutdinov, I. Murray. On the Quantitative Analysis of Deep Belief Networks. ICML
        2008.
    """
    noise = tf.random.stateless_uniform(tf.shape(intensities), seed=seed)
    return tf.cast(noise < intensities, tf.float32)


def sample_binary_once(
    images: np.ndarray, maximum_intensity: float, record_ids: np.ndarray, seed: int
) -> np.ndarray:
    """Samples binary images so that each is a function of the seed and its own record alone.

    Whatever slice of a split is read, in whatever order or batch, and in whatever process: the
    same record gives the same binary image.

    Args:
        images: `[batch, h, w, c]`, values in 0 to `maximum_intensity`.
        maximum_intensity: The value that means a probability of 1.
        record_ids: bytes `[batch]`, TFDS's name of each record.
        seed: Any integer.

    Returns:
        uint8 `[batch, h, w, c]` of 0 and 1.
    """
    noise = np.empty(images.shape, np.float32)
    for record_noise, record_id in zip(noise, record_ids, strict=True):
        digest = hashlib.blake2b(record_id, digest_size=16, salt=b"%x" % (seed % 2**64))
        key = np.frombuffer(digest.digest(), np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        generator.random(dtype=np.float32, out=record_noise)
    return (noise * np.float32(maximum_intensity) < images).astype(np.uint8)


def threshold_binary(images: tf.Tensor, maximum_intensity: float) -> tf.Tensor:
    """Cuts intensities at a half: 1 where the intensity is above it.

    Args:
        images: `[batch, h, w, c]`, values in 0 to `maximum_intensity`.
        maximum_intensity: The value that means an intensity of 1.

    Returns:
        uint8 `[batch, h, w, c]` of 0 and 1.
    """
    return tf.cast(tf.cast(images, tf.float32) > maximum_intensity / 2, tf.uint8)
