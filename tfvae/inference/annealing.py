"""Annealed importance sampling: Hamiltonian Monte Carlo from an initial normal to the posterior.

The chains move in coordinates in which the initial distribution, the prior or q(Z|x), is standard
normal: standardised latents. The temperature t turns it into the posterior by N(0, I) w^t, where
w = p(x, z) / initial(z).

`tfp.mcmc.sample_annealed_importance_chain` is not used, for two reasons. It hands a kernel the
density that was cached at the temperature before, so that proposals are accepted against the wrong
one; and a step size that adapts while weights are gathered makes a chain's kernel depend on its own
past, which the unbiasedness of the weights does not allow.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.inference.importance import factorial_normal
from tfvae.inference.passes import latents_per_pass
from tfvae.vae import VAE

NUM_LEAPFROG_STEPS = 10
TARGET_ACCEPTANCE_RATE = 0.65

_PILOT_CHAINS = 8
_INITIAL_STEP_SIZE = 0.5
_ADAPTATION_RATE = 0.1
# The temperatures are closest at both ends of a logistic curve from -4 to 4.
_LOGISTIC_RANGE = 4.0


def tune_step_sizes(
    vae: VAE, images: tf.Tensor, parameters: tf.Tensor, num_steps: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Step sizes for each image and temperature that accept about 0.65 of the proposals.

    They come from a pilot run of a few chains. Weights may then be
    gathered with kernels that are fixed beforehand, which keeps them exactly unbiased.

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`.
        parameters: `[batch, 2, latent_dim]`, of the initial distribution.
        num_steps: The number of temperatures above 0, int32.
        seed: int32 `[2]`.

    Returns:
        `[num_steps + 1, batch]`; the first and the last are not used.

    References:
        Wu et al. On the Quantitative Analysis of Decoder-Based Generative Models. 2016.
        arXiv:1611.04273.
    """
    initial_seed, chain_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    latents = vae.prior.sample([_PILOT_CHAINS, tf.shape(images)[0]], seed=initial_seed)
    return _pilot(vae, images, parameters, latents, num_steps, chain_seed)


def forward_chains(
    vae: VAE,
    images: tf.Tensor,
    parameters: tf.Tensor,
    latents: tf.Tensor,
    step_sizes: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Anneals from the initial distribution to the posterior.

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`.
        parameters: `[batch, 2, latent_dim]`, of the initial distribution.
        latents: `[chains, batch, latent_dim]`, standardised samples of the initial distribution,
            which are standard normal.
        step_sizes: `[num_steps + 1, batch]`, by temperature from 0 to 1.
        seed: int32 `[2]`.

    Returns:
        `[chains, batch]`: the logarithms of weights whose expectation is p(x).

    References:
        Neal. Annealed Importance Sampling. 1998. arXiv:physics/9803008.
    """
    temperatures = _temperatures(tf.shape(step_sizes)[0] - 1, step_sizes.dtype)
    return _chains(vae, images, parameters, latents, temperatures, step_sizes, seed)


def reverse_chains(
    vae: VAE,
    images: tf.Tensor,
    parameters: tf.Tensor,
    latents: tf.Tensor,
    step_sizes: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Anneals from the posterior to the initial distribution.

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`.
        parameters: `[batch, 2, latent_dim]`, of the initial distribution.
        latents: `[chains, batch, latent_dim]`, standardised exact samples of the posterior.
        step_sizes: `[num_steps + 1, batch]`, by temperature from 0 to 1.
        seed: int32 `[2]`.

    Returns:
        `[chains, batch]`: the logarithms of weights whose expectation is 1 / p(x).

    References:
        Grosse et al. Sandwiching the marginal likelihood using bidirectional Monte Carlo. 2015.
        arXiv:1511.02543.
    """
    temperatures = _temperatures(tf.shape(step_sizes)[0] - 1, step_sizes.dtype)
    return _chains(
        vae,
        images,
        parameters,
        latents,
        tf.reverse(temperatures, axis=[0]),
        tf.reverse(step_sizes, axis=[0]),
        seed,
    )


def log_sums(
    vae: VAE,
    images: tf.Tensor,
    num_steps: tf.Tensor,
    num_samples: int,
    seed: tf.Tensor,
    *,
    parameters: tf.Tensor,
    exact_latents: tf.Tensor | None = None,
) -> tf.Tensor:
    """The logarithms of sums over chains of the weights and of their squares.

    Args:
        vae: The model.
        images: `[batch, height, width, channels]`.
        num_steps: The number of temperatures above 0, int32.
        num_samples: Chains per image and direction.
        seed: int32 `[2]`.
        parameters: `[batch, 2, latent_dim]`, of the initial distribution.
        exact_latents: `[batch, latent_dim]`, exact samples of the posterior, where there are any.

    Returns:
        float64 `[batch, 2]`, of the weights of forward chains and of their squares; with exact
        latents `[batch, 4]`, followed by the same of reverse chains.
    """
    pilot_seed, forward_seed, reverse_seed = tf.unstack(
        tf.random.experimental.stateless_split(seed, 3)
    )
    batch = images.shape[0]
    step_sizes = tune_step_sizes(vae, images, parameters, num_steps, pilot_seed)
    num_passes = math.ceil(num_samples * batch / latents_per_pass(vae))
    chains_per_pass = math.ceil(num_samples / num_passes)
    columns = []
    for start in range(0, num_samples, chains_per_pass):
        count = min(chains_per_pass, num_samples - start)
        initial_seed, chain_seed = tf.unstack(
            tf.random.experimental.stateless_split(
                tf.random.experimental.stateless_fold_in(forward_seed, start), 2
            )
        )
        latents = vae.prior.sample([count, batch], seed=initial_seed)
        log_weights = [forward_chains(vae, images, parameters, latents, step_sizes, chain_seed)]
        if exact_latents is not None:
            reverse_chain_seed = tf.random.experimental.stateless_fold_in(reverse_seed, start)
            location, stddev = tf.unstack(parameters, axis=1)
            latents = tf.repeat(((exact_latents - location) / stddev)[tf.newaxis], count, axis=0)
            log_weights.append(
                reverse_chains(vae, images, parameters, latents, step_sizes, reverse_chain_seed)
            )
        log_weights = tf.cast(tf.stack(log_weights, axis=-1), tf.float64)
        both = tf.stack([log_weights, 2 * log_weights], axis=-1)
        both = tf.reshape(both, [count, batch, -1])
        columns.append(tf.reduce_logsumexp(both, axis=0))
    return tf.reduce_logsumexp(tf.stack(columns), axis=0)


@tf.function(reduce_retracing=True)
def _chains(vae, images, parameters, latents, temperatures, step_sizes, seed):
    log_weights = tf.zeros(tf.shape(latents)[:2], latents.dtype)
    num_steps = tf.shape(temperatures)[0] - 1
    for step in tf.range(num_steps):
        log_weight = _log_weight(vae, images, parameters, latents)
        log_weights += (temperatures[step + 1] - temperatures[step]) * log_weight
        # What the chains do after the last weight does not matter.
        if step < num_steps - 1:
            latents, _ = _transition(
                vae,
                images,
                parameters,
                latents,
                temperature=temperatures[step + 1],
                step_size=step_sizes[step + 1],
                seed=tf.random.experimental.stateless_fold_in(seed, step),
            )
    return log_weights


@tf.function(reduce_retracing=True)
def _pilot(vae, images, parameters, latents, num_steps, seed):
    temperatures = _temperatures(num_steps, latents.dtype)
    log_step_size = tf.fill(
        [tf.shape(images)[0]], tf.math.log(tf.constant(_INITIAL_STEP_SIZE, latents.dtype))
    )
    step_sizes = tf.TensorArray(latents.dtype, size=num_steps + 1)
    for step in tf.range(num_steps + 1):
        latents, acceptance = _transition(
            vae,
            images,
            parameters,
            latents,
            temperature=temperatures[step],
            step_size=tf.exp(log_step_size),
            seed=tf.random.experimental.stateless_fold_in(seed, step),
        )
        step_sizes = step_sizes.write(step, tf.exp(log_step_size))
        log_step_size += _ADAPTATION_RATE * (acceptance - TARGET_ACCEPTANCE_RATE)
    return step_sizes.stack()


def _transition(vae, images, parameters, latents, *, temperature, step_size, seed):
    """One transition that leaves the density at a temperature, and its acceptance `[batch]`."""

    def log_prob(latents):
        # In standardised latents the initial density is that of the prior, whichever it is.
        log_weight = _log_weight(vae, images, parameters, latents)
        return vae.prior.log_prob(latents) + temperature * log_weight

    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        log_prob, step_size=step_size[:, tf.newaxis], num_leapfrog_steps=NUM_LEAPFROG_STEPS
    )
    latents, results = kernel.one_step(latents, kernel.bootstrap_results(latents), seed=seed)
    acceptance = tf.exp(tf.minimum(results.log_accept_ratio, 0))
    return latents, tf.reduce_mean(acceptance, axis=0)


def _log_weight(vae, images, parameters, standardised):
    """Log p(x, z) / initial(z) of standardised latents, `[chains, batch]`."""
    location, stddev = tf.unstack(parameters, axis=1)
    latents = location + stddev * standardised
    initial = factorial_normal(parameters)
    log_ratio = vae.prior.log_prob(latents) - initial.log_prob(latents)
    return vae.decode(latents).log_prob(images) + log_ratio


def _temperatures(num_steps, dtype):
    fractions = tf.cast(tf.linspace(-1.0, 1.0, num_steps + 1), dtype)
    curve = tf.sigmoid(_LOGISTIC_RANGE * fractions)
    return (curve - curve[0]) / (curve[-1] - curve[0])
