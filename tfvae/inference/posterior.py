"""The posterior p(z|x): samples from it, and how far q(Z|x) is from it and why."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.common.checks import check_integer
from tfvae.common.images import check_binary_images
from tfvae.common.seeds import stateless_seed
from tfvae.distributions import factorial as distributions
from tfvae.inference.marginal_likelihood import evidence
from tfvae.inference.passes import latents_per_pass, over_images
from tfvae.vae import VAE

tfd = tfp.distributions

NUM_LEAPFROG_STEPS = 10
TARGET_ACCEPTANCE_RATE = 0.75

_INITIAL_STEP_SIZE = 0.2


class HMCSamples(NamedTuple):
    """Chains of Hamiltonian Monte Carlo in the posterior, and whether they can be trusted.

    Attributes:
        latents: `[num_samples, num_chains, n, latent_dim]`, samples of p(z|x).
        acceptance_rate: `[n]`, the mean acceptance probability; about 0.75 is aimed at.
        potential_scale_reduction: `[n, latent_dim]`, R-hat of split chains; above 1.1 they have not
            found the same distribution.
        effective_sample_size: `[n, latent_dim]`, of all chains together.
    """

    latents: tf.Tensor
    acceptance_rate: tf.Tensor
    potential_scale_reduction: tf.Tensor
    effective_sample_size: tf.Tensor


class ResampledLatents(NamedTuple):
    """Samples of q(Z|x), resampled by their importance weights.

    Attributes:
        latents: `[num_samples, n, latent_dim]`, approximate samples of p(z|x); the more proposals,
            the closer.
        effective_sample_size: `[n]`, that of the proposals: it should be well above `num_samples`.
    """

    latents: tf.Tensor
    effective_sample_size: tf.Tensor


class PosteriorGap(NamedTuple):
    """KL(q(Z|x) || p(Z|x)) and its standard error; each `[n]`, in nats per image."""

    gap: tf.Tensor
    standard_error: tf.Tensor


class Gaps(NamedTuple):
    """Why the ELBO lies below log p(x); each `[n]`, in nats per image.

    Attributes:
        approximation: log p(x) - ELBO of the best factorial normal: the price of the family.
        approximation_standard_error: Its standard error.
        amortization: ELBO of the best factorial normal - ELBO of the encoder's: the price of one
            network for all images.
        amortization_standard_error: Its standard error.
        log_likelihood: The importance-weighted estimate of log p(x), with the best factorial normal
            as proposal.
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
        num_samples: Samples per chain, at least 4.
        num_chains: Chains per image.
        seed: The same seed gives the same samples; None gives new ones at each call.
        num_burnin_steps: Steps before the first sample.
        verbose: Whether to show a progress bar.

    Returns:
        The `HMCSamples`.

    Raises:
        InputError: If the images are not such images or none, a number is not positive, or `seed`
            is not a seed.

    References:
        Neal. MCMC using Hamiltonian dynamics. 2012. arXiv:1206.1901.
        Hoffman and Gelman. The No-U-Turn Sampler: Adaptively Setting Path Lengths in Hamiltonian
        Monte Carlo. 2011. arXiv:1111.4246.
    """
    # Halves of chains are compared, and each needs a variance.
    num_samples = check_integer("num_samples", num_samples, minimum=4)
    num_chains = check_integer("num_chains", num_chains, minimum=1)
    num_burnin_steps = check_integer("num_burnin_steps", num_burnin_steps, minimum=1)
    counts = tf.constant(num_samples), tf.constant(num_burnin_steps)

    def sample(part, seed):
        initial_seed, chain_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        start = vae.prior.sample([num_chains, len(part)], seed=initial_seed)
        return _hmc_chains(vae, part, start, *counts, chain_seed)

    latents, acceptance = over_images(vae, images, num_chains, seed, sample, verbose=verbose)
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

    Returns:
        The `ResampledLatents`.

    Raises:
        InputError: As `sample_hmc` does.

    References:
        Rubin. Using the SIR algorithm to simulate posterior distributions. 1988.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_proposals = check_integer("num_proposals", num_proposals, minimum=1)

    def choose(part, seed):
        proposal_seed, choice_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        posterior = vae.encode(part)
        proposals = posterior.sample(num_proposals, seed=proposal_seed)
        step = max(1, latents_per_pass(vae) // len(part))
        log_joint = tf.concat(
            [
                _log_joint(vae, part, proposals[start : start + step])
                for start in range(0, num_proposals, step)
            ],
            axis=0,
        )
        log_weights = tf.transpose(log_joint - posterior.log_prob(proposals))
        chosen = tf.random.stateless_categorical(log_weights, num_samples, seed=choice_seed)
        latents = tf.gather(tf.transpose(proposals, [1, 0, 2]), chosen, batch_dims=1)
        shares = tf.nn.softmax(log_weights)
        return latents, 1 / tf.reduce_sum(shares**2, axis=1)

    latents, effective_sample_size = over_images(vae, images, num_proposals, seed, choose)
    return ResampledLatents(tf.transpose(latents, [1, 0, 2]), effective_sample_size)


def posterior_gap(
    vae: VAE, images: Any, num_samples: int = 5000, seed: int | None = None
) -> PosteriorGap:
    """Estimates KL(q(Z|x) || p(Z|x)) = log p(x) - ELBO(x).

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1, or a `tf.data.Dataset` of such.
        num_samples: Samples of q(Z|x) per image, for both terms.
        seed: The same seed gives the same estimate; None gives a new one at each call.

    Returns:
        The `PosteriorGap`.

    Raises:
        InputError: As `tfvae.log_likelihood` does.
    """
    result = evidence(vae, images, num_samples, seed)
    return PosteriorGap(result.posterior_gap, standard_error=result.posterior_gap_standard_error)


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

    Each image's means and standard deviations start from the encoder's and ascend its ELBO.

    Args:
        vae: The model, which stays as it is.
        images: `[n, height, width, channels]`, floating, 0 or 1.
        seed: The same seed gives the same result; None gives a new one at each call.
        num_steps: Steps of Adam.
        num_samples: Latents per image and step.
        learning_rate: At the first step; it falls to 0 along a cosine.

    Returns:
        A factorial normal of batch shape `[n]` and event shape `[latent_dim]`.

    Raises:
        InputError: As `sample_hmc` does.

    References:
        Cremer et al. Inference Suboptimality in Variational Autoencoders. 2018. arXiv:1801.03558.
    """
    num_steps = check_integer("num_steps", num_steps, minimum=1)
    num_samples = check_integer("num_samples", num_samples, minimum=1)

    def ascend(part, seed):
        parameters = tf.Variable(tf.cast(vae.encoder(part), vae.distribution_dtype))
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=num_steps)
        optimizer = keras.optimizers.Adam(schedule)
        optimizer.build([parameters])

        def negative_elbo(seed):
            posterior = distributions.factorial_normal(parameters, dtype=vae.distribution_dtype)
            latents = posterior.sample(num_samples, seed=seed)
            reconstruction = tf.reduce_mean(vae.decode(latents).log_prob(part), axis=0)
            return tfd.kl_divergence(posterior, vae.prior) - reconstruction

        tf.function(tfp.math.minimize)(
            negative_elbo, num_steps, optimizer, trainable_variables=[parameters], seed=seed
        )
        return tf.convert_to_tensor(parameters)

    parameters = over_images(vae, images, num_samples, seed, ascend)
    return distributions.factorial_normal(parameters, dtype=vae.distribution_dtype)


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

    Returns:
        The `Gaps`.

    Raises:
        InputError: As `sample_hmc` does.

    References:
        Cremer et al. Inference Suboptimality in Variational Autoencoders. 2018. arXiv:1801.03558.
    """
    images = check_binary_images(images, vae.image_shape)
    seeds = stateless_seed(seed)
    refine_seed, refined_seed, encoder_seed = (
        int(part) for part in tf.random.stateless_uniform([3], seeds, 0, 2**31 - 1, tf.int32)
    )
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


# The adaptation of step sizes needs static shapes.
@tf.function
def _hmc_chains(vae, images, start, num_samples, num_burnin_steps, seed):
    """Latents `[batch, num_samples, num_chains, latent_dim]` and acceptance rates `[batch]`."""
    normal = vae.encode(images).distribution

    def log_prob(standardised):
        return _log_joint(vae, images, normal.loc + normal.scale * standardised)

    step_sizes = tf.fill([1, start.shape[1], 1], tf.constant(_INITIAL_STEP_SIZE, start.dtype))
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(log_prob, step_sizes, num_leapfrog_steps=NUM_LEAPFROG_STEPS),
        num_adaptation_steps=num_burnin_steps * 4 // 5,
        target_accept_prob=tf.constant(TARGET_ACCEPTANCE_RATE, start.dtype),
    )
    standardised, log_accept_ratios = tfp.mcmc.sample_chain(
        num_samples,
        current_state=start,
        kernel=kernel,
        num_burnin_steps=num_burnin_steps,
        trace_fn=lambda _, results: results.inner_results.log_accept_ratio,
        seed=seed,
    )
    acceptance = tf.reduce_mean(tf.exp(tf.minimum(log_accept_ratios, 0)), axis=[0, 1])
    latents = normal.loc + normal.scale * standardised
    return tf.transpose(latents, [2, 0, 1, 3]), acceptance


@tf.function(reduce_retracing=True)
def _log_joint(vae, images, latents):
    """Log p(x, z) of latents `[num_samples, batch, latent_dim]`, `[num_samples, batch]`."""
    return vae.prior.log_prob(latents) + vae.decode(latents).log_prob(images)
