"""Importance-weighted scores of images inside a graph: in passes, from one seed per image."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import importance
from tfvae.inference.batched_estimates import latents_per_pass
from tfvae.inference.marginal_likelihood import sum_in_passes
from tfvae.serving import noise
from tfvae.vae import VAE

# Far from the positions from which images are sampled, so that the same seed gives other noise.
_FIRST_POSITION = 2**40


def importance_weighted_score(
    vae: VAE, images: tf.Tensor, seed: tf.Tensor, *, num_samples: int
) -> dict[str, tf.Tensor]:
    """Scores images with latents from q(Z|x): log p(x) ~ log mean_k p(x|z_k) p(z_k) / q(z_k|x).

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`, floating.
        seed: int64 `[batch]`.
        num_samples: The number of latents per image.

    Returns:
        `elbo`, `log_likelihood`, `reconstruction` (the mean of log p(x|z) over the same samples)
        and `kl` (closed form): each is float32 `[batch]`, in nats per image, and depends on the
        image and its seed alone, whatever else is in the batch.

    References:
        Burda, Grosse and Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519.
    """
    images = tf.cast(images, vae.distribution_dtype)
    posterior = vae.encode(images)
    batch_size = tf.maximum(tf.shape(images)[0], 1)
    samples_per_pass = tf.clip_by_value(latents_per_pass(vae) // batch_size, 1, num_samples)
    counts = tf.constant(num_samples), samples_per_pass
    sums = sum_in_passes(vae, images, posterior, *counts, seed, _draw_by_row)
    kl = tf.cast(tfp.distributions.kl_divergence(posterior, vae.prior), tf.float64)
    reconstruction = sums.reconstruction / num_samples
    score = {
        "elbo": reconstruction - kl,
        "log_likelihood": importance.log_mean(sums.weights, num_samples),
        "reconstruction": reconstruction,
        "kl": kl,
    }
    return {name: tf.cast(values, tf.float32) for name, values in score.items()}


def _draw_by_row(posterior, num_samples, seed, index):
    """Latents `[num_samples, batch, latent_dim]`, each from the noise of the seed of its row."""
    mean, stddev = posterior.mean(), posterior.stddev()
    words_per_sample = noise.normal_word_count(mean.shape[-1])
    num_words = num_samples * words_per_sample
    start = _FIRST_POSITION + tf.cast(index, tf.int64) * tf.cast(num_words, tf.int64)
    words = noise.random_words(seed, num_words, start=start)
    words = tf.reshape(words, [tf.shape(seed)[0], num_samples, words_per_sample])
    standard = noise.standard_normal(words, mean.shape[-1], dtype=mean.dtype)
    return mean + stddev * tf.transpose(standard, [1, 0, 2])
