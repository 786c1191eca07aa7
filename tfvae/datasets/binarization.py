"""How images become binary: sampled at each epoch, sampled once, cut at a half, or left gray."""

import dataclasses
import hashlib
from typing import Literal

import numpy as np
import tensorflow as tf

Binarization = Literal["dynamic", "fixed", "threshold", "none"]


@dataclasses.dataclass(frozen=True)
class Binarizer:
    """Turns stored images into what a model takes, in part when they are read, in part later.

    The samples of `fixed` are a function of `seed` and the records' names alone.
    """

    binarization: Binarization
    maximum_intensity: float  # the stored value that means an intensity of 1
    seed: int

    def when_read(self, images: tf.Tensor, record_ids: tf.Tensor | None) -> tf.Tensor:
        """Does what is done once, to images `[n, h, w, c]` and TFDS's names of their records."""
        if self.binarization == "threshold":
            return tf.cast(tf.cast(images, tf.float32) > self.maximum_intensity / 2, tf.uint8)
        if self.binarization == "fixed":
            binary = tf.numpy_function(self._sample_once, [images, record_ids], tf.uint8)
            return tf.ensure_shape(binary, images.shape)
        return images

    def at_each_epoch(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Does the rest to a batch of these, with a seed int64 `[2]`; returns float32 in [0, 1]."""
        images = tf.cast(images, tf.float32)
        if self.binarization in ("threshold", "fixed"):
            return images
        intensities = images / self.maximum_intensity
        return sample_binary(intensities, seed) if self.binarization == "dynamic" else intensities

    def _sample_once(self, images: np.ndarray, record_ids: np.ndarray) -> np.ndarray:
        """Samples each image by itself, whatever slice, order, batch or process it is read in."""
        noise = np.empty(images.shape, np.float32)
        for record_noise, record_id in zip(noise, record_ids, strict=True):
            digest = hashlib.blake2b(record_id, digest_size=16, salt=b"%x" % self.seed)
            key = np.frombuffer(digest.digest(), np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            generator.random(dtype=np.float32, out=record_noise)
        return (noise * np.float32(self.maximum_intensity) < images).astype(np.uint8)


def sample_binary(intensities: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Samples each pixel as a Bernoulli variable whose probability is the pixel's intensity.

    Intensities are float32 `[batch, h, w, c]`, kept to within 2^-23, and 0 and 1 exactly; the
    sample is of the same type and shape, and a function of them and the seed, int64 `[2]`, alone.

    References:
        R. Salakhutdinov, I. Murray. On the Quantitative Analysis of Deep Belief Networks. ICML
        2008.
    """
    noise = tf.random.stateless_uniform(tf.shape(intensities), seed=seed)
    return tf.cast(noise < intensities, tf.float32)
