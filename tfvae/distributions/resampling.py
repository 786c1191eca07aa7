"""A few of many weighted samples to stand for all of them."""

import tensorflow as tf


def systematic(weights: tf.Tensor, starts: tf.Tensor, num_resampled: int) -> tf.Tensor:
    """Systematic resampling: each sample comes up in proportion to its weight, on average.

    A sample of weight w comes up w * num_resampled times, rounded up or down, which makes for
    less noise than independent draws.

    (TensorFlow Probability's `resample_systematic` draws its own random numbers, and compiled by
    XLA others than without.)

    Args:
        weights: `[num_samples, batch]`, floating, at least 0, of sum 1 over the samples.
        starts: `[batch]`, uniform in (0, 1].
        num_resampled: How many samples are taken of each element of the batch.

    Returns:
        Which samples, ascending: int32 `[num_resampled, batch]`.

    References:
        Douc, Cappé and Moulines. Comparison of Resampling Schemes for Particle Filtering. 2005.
        arXiv:cs/0507025.
    """
    cumulative = tf.cumsum(weights, axis=0)
    shares = tf.range(num_resampled, dtype=weights.dtype)[:, tf.newaxis] + starts
    # By rounding, the last mark may lie behind the last weight, and be no sample's.
    total = cumulative[-1]
    marks = tf.minimum(shares / tf.cast(num_resampled, weights.dtype) * total, total)
    is_before = cumulative[:, tf.newaxis] < marks
    return tf.reduce_sum(tf.cast(is_before, tf.int32), axis=0)


def take(samples: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The samples that were chosen, for each element of the batch.

    Args:
        samples: `[num_samples, batch, ...]`.
        chosen: int32 `[num_resampled, batch]`, as `systematic` gives it.

    Returns:
        `[num_resampled, batch, ...]`.
    """
    elements = tf.broadcast_to(tf.range(tf.shape(chosen)[1]), tf.shape(chosen))
    return tf.gather_nd(samples, tf.stack([chosen, elements], axis=-1))
