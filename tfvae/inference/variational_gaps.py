"""How far q(Z|x) is from the posterior p(Z|x), and why."""

import math
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_integer
from tfvae.common.images import check_images
from tfvae.common.seeds import stateless_seed
from tfvae.distributions.factorial import factorial_normal
from tfvae.inference.batched_estimates import estimate_in_batches
from tfvae.inference.marginal_likelihood import evidence
from tfvae.vae import VAE


class Gaps(NamedTuple):
    """Why the ELBO lies below log p(x); each `[n]`, in nats per image.

    Attributes:
        approximation: log p(x) - ELBO of the best factorial normal: the price of the family.
        amortization: ELBO of the best factorial normal - ELBO of the encoder's: the price of one
            network for all images.
        log_likelihood: The estimate of log p(x) with the best factorial normal as proposal.
        elbo: That of the encoder's q(Z|x).
        refined_elbo: That of the best factorial normal.
    """

    approximation: tf.Tensor
    approximation_standard_error: tf.Tensor
    amortization: tf.Tensor
    amortization_standard_error: tf.Tensor
    log_likelihood: tf.Tensor
    elbo: tf.Tensor
    refined_elbo: tf.Tensor


def refine(
    vae: VAE,
    images: Any,
    seed: int | None = None,
    *,
    num_steps: int = 1000,
    num_samples: int = 8,
    learning_rate: float = 0.05,
) -> tfd.Distribution:
    """Variational inference for single images: the best factorial normal, p(x|z) and p(z) fixed.

    The means and standard deviations of each image start from the encoder's, and gradient steps
    raise the image's ELBO.

    Args:
        vae: The model, which stays as it is.
        images: `[n, height, width, channels]`, floating, 0 or 1.
        seed: The same seed gives the same result; None gives a new one at each call.
        num_steps: Steps of Adam.
        num_samples: Latents per image and step.
        learning_rate: At the first step; it falls to 0 along a cosine.

    Returns:
        A factorial normal of batch shape `[n]` and event shape `[latent_dim]`.
    """
    num_steps = check_integer("num_steps", num_steps, minimum=1)
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    counts = tf.constant(num_steps), tf.constant(num_samples)

    def maximize(part, seed):
        parameters = tf.cast(vae.encoder(part), vae.distribution_dtype)
        rate = tf.constant(learning_rate, parameters.dtype)
        return _maximize_elbo(vae, part, parameters, *counts, rate, seed)

    parameters = estimate_in_batches(vae, images, num_samples, seed, maximize)
    return factorial_normal(parameters, dtype=vae.distribution_dtype)


def gaps(
    vae: VAE,
    images: Any,
    num_samples: int = 5000,
    seed: int | None = None,
    *,
    num_steps: int = 1000,
) -> Gaps:
    """Splits log p(x) - ELBO(x) into the approximation gap and the amortization gap.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1.
        num_samples: Samples per image that estimate log p(x) and the ELBOs.
        seed: The same seed gives the same estimates; None gives new ones at each call.
        num_steps: Steps of `refine`.

    References:
        Cremer et al. Inference Suboptimality in Variational Autoencoders. 2018. arXiv:1801.03558.
    """
    images = check_images(images, vae.image_shape, binary=True, nonempty=True)
    seeds = tf.random.stateless_uniform([3], stateless_seed(seed), 0, 2**31 - 1, tf.int32)
    refine_seed, refined_seed, encoder_seed = map(int, seeds)
    posterior = refine(vae, images, refine_seed, num_steps=num_steps)
    refined = evidence(vae, images, num_samples, refined_seed, posterior=posterior)
    encoded = evidence(vae, images, num_samples, encoder_seed)
    return Gaps(
        approximation=refined.posterior_gap,
        approximation_standard_error=refined.posterior_gap_standard_error,
        amortization=refined.elbo - encoded.elbo,
        amortization_standard_error=tf.sqrt(
            refined.elbo_standard_error**2 + encoded.elbo_standard_error**2
        ),
        log_likelihood=refined.log_likelihood,
        elbo=encoded.elbo,
        refined_elbo=refined.elbo,
    )


@tf.function(reduce_retracing=True)
def _maximize_elbo(vae, images, parameters, num_steps, num_samples, learning_rate, seed):
    """The parameters of the best factorial normals, `[batch, 2 * latent_dim]`."""

    def negative_elbo(parameters, seed):
        posterior = factorial_normal(parameters, dtype=parameters.dtype)
        latents = posterior.sample(num_samples, seed=seed)
        reconstruction = tf.reduce_mean(vae.decode(latents).log_prob(images), axis=0)
        return tfd.kl_divergence(posterior, vae.prior) - reconstruction

    optimizer = _Adam(learning_rate, num_steps)
    return tfp.math.minimize_stateless(
        negative_elbo, parameters, num_steps=num_steps, optimizer=optimizer, seed=seed
    )[0]


class _Adam(NamedTuple):
    """Adam without variables, for `tfp.math.minimize_stateless`; the rate falls along a cosine.

    With the variables of a Keras optimizer, each call would trace a function of its own and keep
    it in memory.
    """

    learning_rate: tf.Tensor
    num_steps: tf.Tensor

    def init(self, parameters):
        return tf.zeros([], parameters.dtype), tf.zeros_like(parameters), tf.zeros_like(parameters)

    def update(self, gradients, state, parameters):
        del parameters
        step, mean, square = state
        mean += 0.1 * (gradients - mean)
        square += 0.001 * (gradients**2 - square)
        fraction = step / tf.cast(self.num_steps, step.dtype)
        rate = self.learning_rate * (1 + tf.cos(math.pi * fraction)) / 2
        step += 1
        correction = tf.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        updates = -rate * correction * mean / (tf.sqrt(square) + 1e-7)
        return updates, (step, mean, square)
