"""Importance weights in log space: their mean, its standard error, and resampling by weight."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


class WeightSums(NamedTuple):
    """The logarithms of the sum of the weights and of the sum of their squares, each `[batch]`.

    The sums over parts of the samples can be added, so that the memory need not grow with the
    number of samples.
    """

    log_sum: tf.Tensor
    log_sum_of_squares: tf.Tensor


def log_mean_weight(log_weights: tf.Tensor) -> tf.Tensor:
    """The logarithm of the mean of weights `[num_samples, batch]` over the samples, `[batch]`."""
    return tfp.math.reduce_logmeanexp(log_weights, axis=0)


def sum_weights(log_weights: tf.Tensor) -> WeightSums:
    """The sums over the samples of weights `[num_samples, batch]`."""
    log_moments = tf.stack([log_weights, 2 * log_weights])
    return WeightSums(*tf.unstack(tf.reduce_logsumexp(log_moments, axis=1)))


def add_sums(first: WeightSums, second: WeightSums) -> WeightSums:
    """The sums over the samples of both."""
    return WeightSums(*tf.unstack(tf.reduce_logsumexp(tf.stack([first, second]), axis=0)))


def log_mean(sums: WeightSums, num_samples: int) -> tf.Tensor:
    """The logarithm of the mean of the weights, `[batch]`."""
    return sums.log_sum - math.log(num_samples)


def effective_sample_size(sums: WeightSums) -> tf.Tensor:
    """How many equal weights would tell as much: `[batch]`, from 1 to the number of samples."""
    return tf.exp(2 * sums.log_sum - sums.log_sum_of_squares)


def standard_error(sums: WeightSums, num_samples: int) -> tf.Tensor:
    """The standard error of `log_mean` by the delta method, `[batch]`; infinite for one sample.

    It is the relative standard error of the mean of the weights.
    """
    if num_samples == 1:
        return tf.fill(tf.shape(sums.log_sum), tf.constant(np.inf, sums.log_sum.dtype))
    relative_variance = (num_samples / effective_sample_size(sums) - 1) / (num_samples - 1)
    return tf.sqrt(tf.maximum(relative_variance, 0))


def systematic_resampling(weights: tf.Tensor, starts: tf.Tensor, num_resampled: int) -> tf.Tensor:
    """Chooses samples so that each comes up in proportion to its weight, on average.

    A sample of weight w comes up w * num_resampled times, rounded up or down, which makes for
    less noise than independent draws. (TensorFlow Probability's `resample_systematic` draws its
    own random numbers, and different ones when XLA compiles it.)

    Args:
        weights: `[num_samples, batch]`, floating, at least 0, of sum 1 over the samples.
        starts: `[batch]`, uniform in (0, 1].
        num_resampled: How many samples are taken for each element of the batch.

    Returns:
        The indices of the samples, ascending: int32 `[num_resampled, batch]`.

    References:
        Douc, Cappé and Moulines. Comparison of Resampling Schemes for Particle Filtering. 2005.
        arXiv:cs/0507025.
    """
    cumulative = tf.cumsum(weights, axis=0)
    shares = tf.range(num_resampled, dtype=weights.dtype)[:, tf.newaxis] + starts
    # Rounding may put the last mark behind the last weight, where it would belong to no sample.
    total = cumulative[-1]
    marks = tf.minimum(shares / tf.cast(num_resampled, weights.dtype) * total, total)
    is_before = cumulative[:, tf.newaxis] < marks
    return tf.reduce_sum(tf.cast(is_before, tf.int32), axis=0)


def take(samples: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Takes samples `[num_samples, batch, ...]` by indices `[num_resampled, batch]`."""
    elements = tf.broadcast_to(tf.range(tf.shape(chosen)[1]), tf.shape(chosen))
    return tf.gather_nd(samples, tf.stack([chosen, elements], axis=-1))
