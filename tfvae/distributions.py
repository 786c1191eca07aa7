"""Network outputs become distributions here, and nowhere else."""

import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

SMALLEST_STDDEV = 1e-6
"""Added to every standard deviation, so that its logarithm and its inverse stay finite."""

# softplus(_UNIT_SCALE) = 1: where the network gives zeros, q(Z|x) is the prior.
_UNIT_SCALE = 0.5413248546129181


def factorial_normal(parameters: tf.Tensor, dtype: tf.DType = tf.float32) -> tfd.Distribution:
    """The encoder's output as the approximate posterior q(Z|x).

    Args:
        parameters: `[..., 2 * latent_dim]`, floating. The locations, then the unconstrained
            scales; a softplus makes these the standard deviations, such that 0 gives 1.
        dtype: Of the distribution's own parameters and samples.

    Returns:
        A factorial normal distribution of batch shape `[...]` and event shape `[latent_dim]`.
    """
    location, unconstrained_scale = tf.split(tf.cast(parameters, dtype), 2, axis=-1)
    stddev = SMALLEST_STDDEV + tf.math.softplus(unconstrained_scale + _UNIT_SCALE)
    return tfd.Independent(tfd.Normal(loc=location, scale=stddev), reinterpreted_batch_ndims=1)


def factorial_bernoulli(logits: tf.Tensor, dtype: tf.DType = tf.float32) -> tfd.Distribution:
    """The decoder's output as the likelihood p(X|z).

    Args:
        logits: `[..., height, width, channels]`, floating: the log-odds of each pixel being 1.
        dtype: Of the distribution's own logits and of its samples, which are 0 or 1.

    Returns:
        A factorial Bernoulli distribution of batch shape `[...]` and event shape
        `[height, width, channels]`.
    """
    pixels = Bernoulli(logits=tf.cast(logits, dtype), dtype=dtype)
    return tfd.Independent(pixels, reinterpreted_batch_ndims=3)


def standard_normal(latent_dim: int, dtype: tf.DType = tf.float32) -> tfd.Distribution:
    """The prior p(Z) = N(0, I).

    Args:
        latent_dim: The number of latent dimensions.
        dtype: The type of its samples.

    Returns:
        A factorial normal distribution of batch shape `[]` and event shape `[latent_dim]`.
    """
    location = tf.zeros([latent_dim], dtype)
    return tfd.Independent(
        tfd.Normal(loc=location, scale=tf.ones_like(location)), reinterpreted_batch_ndims=1
    )


_PIXELS_PER_LOGARITHM = 8


def log_prob_of_samples(likelihood: tfd.Distribution, images: tf.Tensor) -> tf.Tensor:
    """The log-likelihood log p(x|z) of several latents per image, for estimates that take many.

    The same as `likelihood.log_prob` of repeated images, in about half the time where TensorFlow
    runs without XLA: log p(x) is the sum over the pixels of x l - relu(l) + log sigmoid(|l|), and
    sigmoid(|l|) lies in [1/2, 1], so that eight of them can be multiplied before one logarithm is
    taken. It is differentiable with respect to the logits.

    Args:
        likelihood: p(X|z) as `factorial_bernoulli` makes it, of batch shape
            `[num_samples * batch]`: all images' first latents, then all images' second ones.
        images: `[batch, height, width, channels]`, of the type of the logits.

    Returns:
        `[num_samples, batch]`, in nats per image.
    """
    batch, pixels = tf.shape(images)[0], math.prod(images.shape[1:])
    images = tf.reshape(images, [batch, pixels])

    # The derivative of |l| is not defined at 0, where that of log p(x|z) is x - 1/2.
    @tf.custom_gradient
    def log_prob(logits):
        def gradient(upstream):
            return upstream[..., tf.newaxis] * (images - tf.sigmoid(logits))

        sure = tf.reduce_sum(images * logits - tf.nn.relu(logits), axis=-1)
        return sure + _sum_of_logarithms(tf.sigmoid(tf.abs(logits))), gradient

    return log_prob(tf.reshape(likelihood.distribution.logits, [-1, batch, pixels]))


def _sum_of_logarithms(factors):
    """The sum over the last axis of the logarithms of factors in [1/2, 1]."""
    count = factors.shape[-1]
    whole = count - count % _PIXELS_PER_LOGARITHM
    groups = tf.concat([tf.shape(factors)[:-1], [_PIXELS_PER_LOGARITHM, -1]], axis=0)
    total = tf.zeros([], factors.dtype)
    if whole:
        # Slicing would copy all the factors, mostly to leave none of them out.
        grouped = factors if whole == count else factors[..., :whole]
        products = tf.reduce_prod(tf.reshape(grouped, groups), axis=-2)
        total = tf.reduce_sum(tf.math.log(products), axis=-1)
    if whole < count:
        total += tf.math.log(tf.reduce_prod(factors[..., whole:], axis=-1))
    return total


class Bernoulli(tfd.Bernoulli):
    """TFP's Bernoulli given logits, with half the transcendental functions in `log_prob`.

    TFP evaluates both log p(0) and log p(1) and mixes them. One softplus says the same:
    log p(x) = x l - log(1 + exp(l)), for grey x too, and finite for logits of any finite size.
    """

    def _log_prob(self, event):
        logits = self._logits_parameter_no_checks()
        return tf.cast(event, logits.dtype) * logits - tf.math.softplus(logits)
