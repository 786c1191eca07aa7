"""Annealed importance sampling: Hamiltonian Monte Carlo from an initial normal to the posterior.

The chains move in coordinates in which the initial distribution, the prior or q(Z|x), is standard
normal: standardized latents. The temperature t turns it into the posterior by N(0, I) w^t, where
w = p(x, z) / initial(z).

`tfp.mcmc.sample_annealed_importance_chain` is not used, for two reasons. It gives a kernel the
density that was cached at the previous temperature, so that proposals are accepted against the
wrong one; and a step size that adapts while weights are gathered makes a chain's kernel depend on
its own past, which the unbiasedness of the weights does not allow.
"""

import functools
import math
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.seeds import stateless_seed
from tfvae.distributions import importance
from tfvae.inference.batched_estimates import estimate_in_batches, latents_per_pass
from tfvae.vae import VAE

_NUM_LEAPFROG_STEPS = 10
_TARGET_ACCEPTANCE_RATE = 0.65
_NUM_PILOT_CHAINS = 8
_INITIAL_STEP_SIZE = 0.5
_ADAPTATION_RATE = 0.1
# The temperatures are closest at both ends of a logistic curve from -4 to 4.
_LOGISTIC_RANGE = 4.0


class Sandwich(NamedTuple):
    """Bounds from both sides on log p(x) of images that the model itself drew.

    Each is `[n]`, in nats per image, unless stated otherwise.

    Attributes:
        images: `[n, height, width, channels]`, the images, 0 or 1.
        latents: `[n, latent_dim]`, the latents they were drawn with: exact samples of p(Z|x).
        lower: In expectation at most log p(x): annealing from the start to the posterior.
        upper: In expectation at least log p(x): annealing from the exact posterior sample back.
        upper_standard_error: By the delta method as the other one, for the posterior sample given.
            What another sample would give is told only by the spread over the images.
    """

    images: tf.Tensor
    latents: tf.Tensor
    lower: tf.Tensor
    lower_standard_error: tf.Tensor
    upper: tf.Tensor
    upper_standard_error: tf.Tensor


def sandwich(
    vae: VAE,
    num_images: int = 100,
    num_samples: int = 16,
    seed: int | None = None,
    *,
    num_steps: int = 500,
    start: str = "encoder",
    verbose: bool = False,
) -> Sandwich:
    """Bounds log p(x) from both sides on images that the model draws (bidirectional Monte Carlo).

    An image drawn together with its latents, x ~ p(X|z), z ~ p(Z), brings an exact sample of its
    own posterior. Annealing from there to the start gives an upper bound where the other direction
    gives a lower one.

    Args:
        vae: The model.
        num_images: How many images to draw.
        num_samples: Chains per image and direction.
        seed: The same seed gives the same images and bounds; None gives new ones at each call.
        num_steps: The temperatures between the start and the posterior.
        start: Where the lower bound's chains start and the upper bound's end. `"encoder"`: at
            q(Z|x), which is close to the posterior, so that few temperatures are enough.
            `"prior"`: at p(Z), which does not depend on the encoder and needs many times more.
        verbose: Whether to show a progress bar.

    References:
        Grosse et al. Sandwiching the marginal likelihood using bidirectional Monte Carlo. 2015.
        arXiv:1511.02543.
    """
    check_choice("start", start, ("encoder", "prior"))
    num_images = check_integer("num_images", num_images, minimum=1)
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_steps = check_integer("num_steps", num_steps, minimum=1)
    latent_seed, pixel_seed, chain_seed = tf.random.split(stateless_seed(seed), 3)
    latents = vae.prior.sample(num_images, seed=latent_seed)
    images = vae.decode(latents).sample(seed=pixel_seed)

    def estimate(part, seed, exact_latents):
        initial = vae.encode(part) if start == "encoder" else None
        forward, backward = annealed_weights(
            vae, part, initial, num_samples, num_steps, seed, exact_latents
        )
        return Sandwich(
            images=part,
            latents=exact_latents,
            lower=importance.log_mean(forward, num_samples),
            lower_standard_error=importance.standard_error(forward, num_samples),
            # The weights of the way back have the expectation 1 / p(x).
            upper=-importance.log_mean(backward, num_samples),
            upper_standard_error=importance.standard_error(backward, num_samples),
        )

    return estimate_in_batches(
        vae, images, num_samples, chain_seed, estimate, per_image=latents, verbose=verbose
    )


def annealed_weights(
    vae: VAE,
    images: tf.Tensor,
    initial: tfd.Distribution | None,
    num_samples: int,
    num_steps: int,
    seed: tf.Tensor,
    exact_latents: tf.Tensor | None = None,
) -> tuple[importance.WeightSums, ...]:
    """Sums the weights of chains from an initial normal, or from the prior, to the posterior.

    The expectation of the weights is p(x). With `exact_latents`, samples of the posterior
    `[batch, latent_dim]`, the sums over chains that lead back from there are returned too; the
    expectation of their weights is 1 / p(x). All sums are in float64.
    """
    pilot_seed, forward_seed, backward_seed = tf.random.split(seed, 3)
    batch_size = images.shape[0]
    temperatures = _temperatures(num_steps, images.dtype)
    initial_seed, chain_seed = tf.random.split(pilot_seed, 2)
    latents = vae.prior.sample([_NUM_PILOT_CHAINS, batch_size], seed=initial_seed)
    step_sizes = _tune_step_sizes(vae, images, initial, latents, temperatures, chain_seed)

    num_passes = math.ceil(num_samples * batch_size / latents_per_pass(vae))
    chains_per_pass = math.ceil(num_samples / num_passes)
    sums = []
    for first in range(0, num_samples, chains_per_pass):
        count = min(chains_per_pass, num_samples - first)
        initial_seed, chain_seed = tf.random.split(tf.random.fold_in(forward_seed, first), 2)
        latents = vae.prior.sample([count, batch_size], seed=initial_seed)
        ways = [(latents, temperatures, step_sizes, chain_seed)]
        if exact_latents is not None:
            latents = exact_latents
            if initial is not None:
                latents = (latents - initial.mean()) / initial.stddev()
            latents = tf.repeat(latents[tf.newaxis], count, axis=0)
            chain_seed = tf.random.fold_in(backward_seed, first)
            ways.append((latents, temperatures[::-1], step_sizes[::-1], chain_seed))
        log_weights = [_run_chains(vae, images, initial, *way) for way in ways]
        sums.append([importance.sum_weights(tf.cast(part, tf.float64)) for part in log_weights])
    return tuple(functools.reduce(importance.add_sums, parts) for parts in zip(*sums, strict=True))


@tf.function(reduce_retracing=True)
def _run_chains(vae, images, initial, latents, temperatures, step_sizes, seed):
    """The log-weights `[chains, batch]` of chains from standardized latents `[chains, batch, d]`.

    The step sizes are `[num_steps + 1, batch]`; the first and the last are not used.
    """
    log_weight = functools.partial(_log_weight, vae, images, initial)
    log_weights = tf.zeros(tf.shape(latents)[:2], latents.dtype)
    num_steps = tf.shape(temperatures)[0] - 1
    for step in tf.range(num_steps):
        log_weights += (temperatures[step + 1] - temperatures[step]) * log_weight(latents)
        # What the chains do after the last weight does not matter.
        if step < num_steps - 1:
            schedule = temperatures[step + 1], step_sizes[step + 1]
            step_seed = tf.random.fold_in(seed, step)
            latents, _ = _transition(vae, log_weight, latents, *schedule, step_seed)
    return log_weights


@tf.function(reduce_retracing=True)
def _tune_step_sizes(vae, images, initial, latents, temperatures, seed):
    """Step sizes `[num_steps + 1, batch]` that accept about 0.65 of the proposals.

    They come from a pilot run of a few chains. Weights may then be gathered with kernels that are
    fixed beforehand, which keeps them exactly unbiased.
    """
    log_weight = functools.partial(_log_weight, vae, images, initial)
    initial_step_size = tf.constant(_INITIAL_STEP_SIZE, latents.dtype)
    log_step_size = tf.fill([tf.shape(images)[0]], tf.math.log(initial_step_size))
    num_temperatures = tf.shape(temperatures)[0]
    step_sizes = tf.TensorArray(latents.dtype, size=num_temperatures)
    for step in tf.range(num_temperatures):
        step_size, step_seed = tf.exp(log_step_size), tf.random.fold_in(seed, step)
        latents, acceptance = _transition(
            vae, log_weight, latents, temperatures[step], step_size, step_seed
        )
        step_sizes = step_sizes.write(step, step_size)
        log_step_size += _ADAPTATION_RATE * (acceptance - _TARGET_ACCEPTANCE_RATE)
    return step_sizes.stack()


def _transition(vae, log_weight, latents, temperature, step_size, seed):
    """Moves by a kernel that keeps the density of a temperature; the acceptance is `[batch]`."""
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        # In standardized latents the initial density is that of the prior, whichever it is.
        lambda latents: vae.prior.log_prob(latents) + temperature * log_weight(latents),
        step_size=step_size[:, tf.newaxis],
        num_leapfrog_steps=_NUM_LEAPFROG_STEPS,
    )
    latents, results = kernel.one_step(latents, kernel.bootstrap_results(latents), seed=seed)
    acceptance = tf.exp(tf.minimum(results.log_accept_ratio, 0))
    return latents, tf.reduce_mean(acceptance, axis=0)


def _log_weight(vae, images, initial, standardized):
    """Log p(x, z) / initial(z) of standardized latents, `[chains, batch]`."""
    if initial is None:
        return vae.decode(standardized).log_prob(images)
    latents = initial.mean() + initial.stddev() * standardized
    log_ratio = vae.prior.log_prob(latents) - initial.log_prob(latents)
    return vae.decode(latents).log_prob(images) + log_ratio


def _temperatures(num_steps, dtype):
    fractions = tf.cast(tf.linspace(-1.0, 1.0, num_steps + 1), dtype)
    curve = tf.sigmoid(_LOGISTIC_RANGE * fractions)
    return (curve - curve[0]) / (curve[-1] - curve[0])
