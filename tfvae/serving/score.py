"""Importance-weighted scores of images inside a graph: in passes, from a seed an image."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.serving import noise

tfd = tfp.distributions

# Apart from the positions from which images are sampled: the same seed gives other noise here.
_FIRST_POSITION = 2**40

# Pixels decoded in one pass, whatever the batch and however many samples: it bounds the memory.
_PIXELS_A_PASS = 2**20


class Score(NamedTuple):
    """What is known of images; each `[batch]`, in nats per image.

    Attributes:
        elbo: The evidence lower bound, reconstruction - kl.
        log_likelihood: The importance-weighted estimate of log p(x).
        reconstruction: E_q[log p(x|z)], the mean over the same samples.
        kl: KL(q(Z|x) || p(Z)), closed form.
    """

    elbo: tf.Tensor
    log_likelihood: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor


def importance_weighted_score(
    images: tf.Tensor,
    seeds: tf.Tensor,
    *,
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    decode: Callable[[tf.Tensor], tfd.Distribution],
    num_samples: int,
) -> Score:
    """Scores images with latents from q(Z|x): log p(x) ~ log mean_k p(x|z_k) p(z_k) / q(z_k|x).

    A row's score depends on its image and its seed alone, whatever else is in the batch.

    Args:
        images: `[batch, height, width, channels]`, of the type of the distributions.
        seeds: int64 `[batch]`.
        posterior: q(Z|x), a factorial normal of batch shape `[batch]`.
        prior: p(Z), standard normal, of batch shape `[]`.
        decode: Latents `[n, latent_dim]` to p(X|z).
        num_samples: The importance samples of each image.

    Returns:
        The score.

    References:
        Burda, Grosse and Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519.
    """
    mean, stddev = posterior.mean(), posterior.stddev()
    batch_size = tf.shape(mean)[0]
    latent_dim = mean.shape[-1]
    words_a_sample = noise.normal_word_count(latent_dim)
    rows_a_pass = max(1, _PIXELS_A_PASS // images.shape[1:].num_elements())
    samples_a_pass = tf.clip_by_value(rows_a_pass // tf.maximum(batch_size, 1), 1, num_samples)

    def one_pass(first, log_weight_sum, log_probability_sum):
        words = noise.random_words(
            seeds,
            samples_a_pass * words_a_sample,
            start=_FIRST_POSITION + tf.cast(first, tf.int64) * words_a_sample,
        )
        words = tf.reshape(words, [batch_size, samples_a_pass, words_a_sample])
        standard = noise.standard_normal(words, latent_dim, dtype=mean.dtype)
        standard = tf.transpose(standard, [1, 0, 2])
        latents = mean + stddev * standard
        log_probability = decode(latents).log_prob(images)
        # log p(z) - log q(z|x): the normalisers cancel, and so does what small stddev would round.
        log_ratio = tf.reduce_sum(
            0.5 * (tf.square(standard) - tf.square(latents)) + tf.math.log(stddev), axis=-1
        )
        # Thousands of terms are added up, and only [samples, batch] of them are here: in float64.
        log_probability = tf.cast(log_probability, tf.float64)
        log_weights = log_probability + tf.cast(log_ratio, tf.float64)
        # The last pass may go beyond num_samples.
        counts = (first + tf.range(samples_a_pass) < num_samples)[:, tf.newaxis]
        log_weights = tf.where(counts, log_weights, tf.constant(float("-inf"), tf.float64))
        log_probability = tf.where(counts, log_probability, tf.constant(0.0, tf.float64))
        return (
            first + samples_a_pass,
            tfp.math.log_add_exp(log_weight_sum, tf.reduce_logsumexp(log_weights, axis=0)),
            log_probability_sum + tf.reduce_sum(log_probability, axis=0),
        )

    nothing = tf.zeros([batch_size], tf.float64)
    _, log_weight_sum, log_probability_sum = tf.while_loop(
        lambda first, *_: first < num_samples,
        one_pass,
        (tf.constant(0), tf.math.log(nothing), nothing),
        parallel_iterations=1,
    )
    kl = tf.cast(tfd.kl_divergence(posterior, prior), tf.float64)
    reconstruction = log_probability_sum / num_samples
    log_likelihood = log_weight_sum - tf.math.log(tf.constant(num_samples, tf.float64))
    terms = (reconstruction - kl, log_likelihood, reconstruction, kl)
    return Score(*(tf.cast(term, tf.float32) for term in terms))
