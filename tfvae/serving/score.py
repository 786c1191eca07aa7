"""Importance-weighted scores of images inside a graph: in passes, from one seed per image."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import importance
from tfvae.serving import noise

# Far from the positions from which images are sampled, so that the same seed gives other noise.
_FIRST_POSITION = 2**40

# Pixels decoded in one pass, whatever the batch and however many samples: it bounds the memory.
PIXELS_PER_PASS = 2**20


def importance_weighted_score(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    posterior: tfp.distributions.Distribution,
    prior: tfp.distributions.Distribution,
    decode: Callable[[tf.Tensor], tfp.distributions.Distribution],
    num_samples: int,
) -> dict[str, tf.Tensor]:
    """Scores images with latents from q(Z|x): log p(x) ~ log mean_k p(x|z_k) p(z_k) / q(z_k|x).

    `images` `[batch, height, width, channels]` have the type of the distributions, `seed` is int64
    `[batch]`, `posterior` is a factorial normal, `prior` standard normal, and `decode` goes from
    latents `[num_samples, batch, latent_dim]` to p(X|z). The result has the names `elbo`,
    `log_likelihood`, `reconstruction` (the mean of log p(x|z) over the same samples) and `kl`
    (closed form): each is float32 `[batch]`, in nats per image, and depends on the image and its
    seed alone, whatever else is in the batch.

    References:
        Burda, Grosse and Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519.
    """
    mean, stddev = posterior.mean(), posterior.stddev()
    batch_size = tf.shape(mean)[0]
    latent_dim = mean.shape[-1]
    words_per_sample = noise.normal_word_count(latent_dim)
    pass_size = max(1, PIXELS_PER_PASS // images.shape[1:].num_elements())
    samples_per_pass = tf.clip_by_value(pass_size // tf.maximum(batch_size, 1), 1, num_samples)

    def one_pass(first, weight_sums, reconstruction_sum):
        words = noise.random_words(
            seed,
            samples_per_pass * words_per_sample,
            start=_FIRST_POSITION + tf.cast(first, tf.int64) * words_per_sample,
        )
        words = tf.reshape(words, [batch_size, samples_per_pass, words_per_sample])
        standard = noise.standard_normal(words, latent_dim, dtype=mean.dtype)
        standard = tf.transpose(standard, [1, 0, 2])
        latents = mean + stddev * standard
        # log p(z) - log q(z|x): the normalizers cancel, and so does what small stddev would round.
        log_ratios = tf.reduce_sum(
            0.5 * (tf.square(standard) - tf.square(latents)) + tf.math.log(stddev), axis=-1
        )
        # Thousands of terms are added up, and only [samples, batch] of them are here: in float64.
        reconstructions = tf.cast(decode(latents).log_prob(images), tf.float64)
        log_weights = reconstructions + tf.cast(log_ratios, tf.float64)
        # The last pass may go beyond num_samples.
        wanted = (first + tf.range(samples_per_pass) < num_samples)[:, tf.newaxis]
        log_weights = tf.where(wanted, log_weights, tf.constant(float("-inf"), tf.float64))
        reconstructions = tf.where(wanted, reconstructions, tf.constant(0.0, tf.float64))
        return (
            first + samples_per_pass,
            importance.add_sums(weight_sums, importance.sum_weights(log_weights)),
            reconstruction_sum + tf.reduce_sum(reconstructions, axis=0),
        )

    zeros = tf.zeros([batch_size], tf.float64)
    no_weights = importance.WeightSums(tf.math.log(zeros), tf.math.log(zeros))
    _, weight_sums, reconstruction_sum = tf.while_loop(
        lambda first, *_: first < num_samples,
        one_pass,
        (tf.constant(0), no_weights, zeros),
        parallel_iterations=1,
    )
    kl = tf.cast(tfp.distributions.kl_divergence(posterior, prior), tf.float64)
    reconstruction = reconstruction_sum / num_samples
    score = {
        "elbo": reconstruction - kl,
        "log_likelihood": importance.log_mean(weight_sums, num_samples),
        "reconstruction": reconstruction,
        "kl": kl,
    }
    return {name: tf.cast(values, tf.float32) for name, values in score.items()}
