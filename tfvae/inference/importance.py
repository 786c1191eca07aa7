"""Importance weights, and the sums over them from which log p(x) and its errors are made."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.inference.passes import latents_per_pass
from tfvae.vae import VAE

tfd = tfp.distributions

# Makes columns of log-quantities to be summed over the samples, `[num_samples, batch, columns]`,
# from a model, images, parameters of q(Z|x), a number of samples and a seed. The first column is
# always the log-weight, the second twice that, for its second moment.
Draw = Callable[[VAE, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def factorial_normal(parameters: tf.Tensor) -> tfd.Distribution:
    """A factorial normal, of what `parameters_of` gives.

    Args:
        parameters: `[batch, 2, latent_dim]`, locations and standard deviations.

    Returns:
        Of batch shape `[batch]` and event shape `[latent_dim]`.
    """
    location, stddev = tf.unstack(parameters, axis=1)
    return tfd.Independent(tfd.Normal(loc=location, scale=stddev), reinterpreted_batch_ndims=1)


def parameters_of(posterior: tfd.Distribution) -> tf.Tensor:
    """The locations and standard deviations of a factorial normal, in one tensor.

    Args:
        posterior: Of batch shape `[batch]` and event shape `[latent_dim]`.

    Returns:
        `[batch, 2, latent_dim]`.
    """
    return tf.stack([posterior.distribution.loc, posterior.distribution.scale], axis=1)


def importance_columns(vae, images, parameters, num_samples, seed):
    """The `Draw` of log p(x, z) / q(z|x) for z ~ q(Z|x)."""
    log_weights, _ = _importance_weights(vae, images, parameters, num_samples, seed)
    return tf.stack([log_weights, 2 * log_weights], axis=-1)


def prior_columns(vae, images, parameters, num_samples, seed):
    """The `Draw` of log p(x|z) for z ~ p(Z)."""
    del parameters
    latents = vae.prior.sample([num_samples, tf.shape(images)[0]], seed=seed)
    log_weights = tf.cast(vae.decode(latents).log_prob(images), tf.float64)
    return tf.stack([log_weights, 2 * log_weights], axis=-1)


def evidence_columns(vae, images, parameters, num_samples, seed):
    """The `Draw` of `importance_columns`, with the moments of log p(x|z) in three more columns."""
    log_weights, reconstructions = _importance_weights(vae, images, parameters, num_samples, seed)
    # log p(x|z) is never positive, so its negative has a logarithm.
    logs = tf.math.log(tf.maximum(-reconstructions, 0))
    return tf.stack([log_weights, 2 * log_weights, logs, 2 * logs, log_weights + logs], axis=-1)


def log_sums(
    vae: VAE,
    images: tf.Tensor,
    draw: Draw,
    num_samples: int,
    seed: tf.Tensor,
    parameters: tf.Tensor,
) -> tf.Tensor:
    """The logarithms of the sums of columns over the samples, in passes of bounded memory.

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`.
        draw: What makes the columns.
        num_samples: Samples per image.
        seed: int32 `[2]`.
        parameters: Of q(Z|x), `[batch, 2, latent_dim]`.

    Returns:
        float64 `[batch, columns]`.
    """
    num_passes = math.ceil(num_samples * images.shape[0] / latents_per_pass(vae))
    samples_per_pass = math.ceil(num_samples / num_passes)
    counts = tf.constant(num_samples), tf.constant(samples_per_pass)
    return _log_sums(vae, images, parameters, draw, *counts, seed)


def _importance_weights(vae, images, parameters, num_samples, seed):
    """Log p(x, z) / q(z|x) and log p(x|z) for z ~ q(Z|x), `[num_samples, batch]`, float64."""
    posterior = factorial_normal(parameters)
    latents = posterior.sample(num_samples, seed=seed)
    reconstructions = tf.cast(vae.decode(latents).log_prob(images), tf.float64)
    log_ratios = vae.prior.log_prob(latents) - posterior.log_prob(latents)
    return reconstructions + tf.cast(log_ratios, tf.float64), reconstructions


@tf.function(reduce_retracing=True)
def _log_sums(vae, images, parameters, draw, num_samples, samples_per_pass, seed):
    # The first pass tells how many columns there are.
    total = _sum_of_pass(vae, images, parameters, draw, num_samples, samples_per_pass, seed, 0)
    for index in tf.range(1, (num_samples - 1) // samples_per_pass + 1):
        part = _sum_of_pass(
            vae, images, parameters, draw, num_samples, samples_per_pass, seed, index
        )
        total = tf.reduce_logsumexp(tf.stack([total, part]), axis=0)
    return total


def _sum_of_pass(vae, images, parameters, draw, num_samples, samples_per_pass, seed, index):
    pass_seed = tf.random.experimental.stateless_fold_in(seed, index)
    columns = draw(vae, images, parameters, samples_per_pass, pass_seed)
    # The last pass may draw more than is wanted.
    wanted = tf.range(samples_per_pass) + index * samples_per_pass < num_samples
    lowest = tf.constant(-np.inf, columns.dtype)
    return tf.reduce_logsumexp(tf.where(wanted[:, tf.newaxis, tf.newaxis], columns, lowest), axis=0)
