"""Samples of the posterior p(z|x), by Hamiltonian Monte Carlo and by importance resampling."""

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.common.checks import check_integer
from tfvae.distributions import importance
from tfvae.inference.batched_estimates import estimate_in_batches, latents_per_pass
from tfvae.vae import VAE

_NUM_LEAPFROG_STEPS = 10
_TARGET_ACCEPTANCE_RATE = 0.75
_INITIAL_STEP_SIZE = 0.2


class HMCSamples(NamedTuple):
    """Chains of Hamiltonian Monte Carlo in the posterior, and whether they can be trusted.

    Attributes:
        latents: `[num_samples, num_chains, n, latent_dim]`, samples of p(z|x).
        acceptance_rate: `[n]`, the mean acceptance probability; the target is 0.75.
        potential_scale_reduction: `[n, latent_dim]`, R-hat of split chains, near 1 if they mixed.
        effective_sample_size: `[n, latent_dim]`, of all chains together.
    """

    latents: tf.Tensor
    acceptance_rate: tf.Tensor
    potential_scale_reduction: tf.Tensor
    effective_sample_size: tf.Tensor


class ResampledLatents(NamedTuple):
    """Samples of q(Z|x), resampled by their importance weights.

    Attributes:
        latents: `[num_samples, n, latent_dim]`, approximate samples of p(z|x).
        effective_sample_size: `[n]`, that of the proposals: it should be well above `num_samples`.
    """

    latents: tf.Tensor
    effective_sample_size: tf.Tensor


def sample_hmc(
    vae: VAE,
    images: Any,
    num_samples: int = 1000,
    num_chains: int = 4,
    seed: int | None = None,
    *,
    num_burnin_steps: int = 500,
    verbose: bool = False,
) -> HMCSamples:
    """Samples p(z|x) by Hamiltonian Monte Carlo.

    Each image has chains and a step size of its own, adapted during the burn-in. The chains start
    from q(Z|x) and move in coordinates in which it is standard normal, so that one step size fits
    latents that the image determines and latents that it does not.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1.
        num_samples: Samples per chain, at least 4, so that halves of chains can be compared.
        num_chains: Chains per image.
        seed: The same seed gives the same samples; None gives new ones at each call.
        num_burnin_steps: Steps before the first sample.
        verbose: Whether to show a progress bar.

    References:
        Neal. MCMC using Hamiltonian dynamics. 2012. arXiv:1206.1901.
        Hoffman and Gelman. The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian
        Monte Carlo. 2011. arXiv:1111.4246.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=4)
    num_chains = check_integer("num_chains", num_chains, minimum=1)
    num_burnin_steps = check_integer("num_burnin_steps", num_burnin_steps, minimum=1)
    counts = tf.constant(num_samples), tf.constant(num_burnin_steps)

    def sample(part, seed):
        initial_seed, chain_seed = tf.random.split(seed, 2)
        start = vae.prior.sample([num_chains, len(part)], seed=initial_seed)
        return _hmc_chains(vae, part, start, *counts, chain_seed)

    latents, acceptance = estimate_in_batches(
        vae, images, num_chains, seed, sample, verbose=verbose
    )
    latents = tf.transpose(latents, [1, 2, 0, 3])
    return HMCSamples(
        latents=latents,
        acceptance_rate=acceptance,
        potential_scale_reduction=tfp.mcmc.potential_scale_reduction(latents, split_chains=True),
        effective_sample_size=tfp.mcmc.effective_sample_size(
            latents, filter_beyond_positive_pairs=True, cross_chain_dims=1
        ),
    )


def resample(
    vae: VAE,
    images: Any,
    num_samples: int = 100,
    num_proposals: int = 5000,
    seed: int | None = None,
) -> ResampledLatents:
    """Samples p(z|x) by importance resampling: from q(Z|x), then by weight with replacement.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1.
        num_samples: Samples per image.
        num_proposals: How many latents of q(Z|x) they are chosen from.
        seed: The same seed gives the same samples; None gives new ones at each call.

    References:
        Rubin. Using the SIR algorithm to simulate posterior distributions. 1988.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_proposals = check_integer("num_proposals", num_proposals, minimum=1)

    def choose(part, seed):
        proposal_seed, choice_seed = tf.random.split(seed, 2)
        posterior = vae.encode(part)
        proposals = posterior.sample(num_proposals, seed=proposal_seed)
        step = max(1, latents_per_pass(vae) // len(part))
        parts = [proposals[start : start + step] for start in range(0, num_proposals, step)]
        log_joint = tf.concat([_log_joint(vae, part, latents) for latents in parts], axis=0)
        log_weights = log_joint - posterior.log_prob(proposals)
        chosen = tf.random.stateless_categorical(
            tf.transpose(log_weights), num_samples, seed=choice_seed
        )
        latents = tf.gather(tf.transpose(proposals, [1, 0, 2]), chosen, batch_dims=1)
        return latents, importance.effective_sample_size(importance.sum_weights(log_weights))

    latents, effective_sample_size = estimate_in_batches(vae, images, num_proposals, seed, choose)
    return ResampledLatents(tf.transpose(latents, [1, 0, 2]), effective_sample_size)


# The adaptation of step sizes needs static shapes.
@tf.function
def _hmc_chains(vae, images, start, num_samples, num_burnin_steps, seed):
    """Latents `[batch, num_samples, num_chains, latent_dim]` and acceptance rates `[batch]`."""
    posterior = vae.encode(images)
    mean, stddev = posterior.mean(), posterior.stddev()
    step_sizes = tf.fill([1, start.shape[1], 1], tf.constant(_INITIAL_STEP_SIZE, start.dtype))
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(
            lambda standardized: _log_joint(vae, images, mean + stddev * standardized),
            step_sizes,
            num_leapfrog_steps=_NUM_LEAPFROG_STEPS,
        ),
        num_adaptation_steps=num_burnin_steps * 4 // 5,
        target_accept_prob=tf.constant(_TARGET_ACCEPTANCE_RATE, start.dtype),
    )
    standardized, log_accept_ratios = tfp.mcmc.sample_chain(
        num_samples,
        current_state=start,
        kernel=kernel,
        num_burnin_steps=num_burnin_steps,
        trace_fn=lambda _, results: results.inner_results.log_accept_ratio,
        seed=seed,
    )
    acceptance = tf.reduce_mean(tf.exp(tf.minimum(log_accept_ratios, 0)), axis=[0, 1])
    return tf.transpose(mean + stddev * standardized, [2, 0, 1, 3]), acceptance


@tf.function(reduce_retracing=True)
def _log_joint(vae, images, latents):
    """Log p(x, z) of latents `[num_samples, batch, latent_dim]`, `[num_samples, batch]`."""
    return vae.prior.log_prob(latents) + vae.decode(latents).log_prob(images)
