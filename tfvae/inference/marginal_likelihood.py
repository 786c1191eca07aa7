"""Estimates of log p(x), each with its standard error and its effective sample size."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_choice, check_integer
from tfvae.distributions import importance
from tfvae.inference.annealing import annealed_weights
from tfvae.inference.batched_estimates import estimate_in_batches, latents_per_pass
from tfvae.vae import VAE

# One of the samples of `annealed` is a whole chain, so that far fewer are enough.
_DEFAULT_NUM_SAMPLES = {"prior": 5000, "importance": 5000, "annealed": 64}
_COMPARED_NUM_SAMPLES: Mapping[str, Sequence[int]] = {
    "prior": (1, 5, 50, 500, 5000),
    "importance": (1, 5, 50, 500, 5000),
    "annealed": (1, 4, 16),
}

# Below it, an estimate and its standard error depend on a few samples.
_TRUSTED_EFFECTIVE_SAMPLE_SIZE = 10.0


class LowEffectiveSampleSizeWarning(UserWarning):
    """An estimate of log p(x) rests on so few samples that even its standard error is doubtful."""


class Estimate(NamedTuple):
    """An estimate of log p(x); each `[n]`, one value per image.

    Attributes:
        log_likelihood: The logarithm of the mean importance weight, in nats per image. In
            expectation a lower bound of log p(x).
        standard_error: Of `log_likelihood`, in nats, by the delta method; infinite for one sample.
        effective_sample_size: How many equal weights would tell as much, from 1 to `num_samples`.
    """

    log_likelihood: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor


class Evidence(NamedTuple):
    """Both sides of ELBO(x) = log p(x) - KL(q(Z|x) || p(Z|x)), from the same samples of q(Z|x).

    Each is `[n]`, in nats per image, unless stated otherwise.

    Attributes:
        log_likelihood: The importance-weighted estimate of log p(x).
        effective_sample_size: That of the importance weights, from 1 to the number of samples.
        elbo: reconstruction - kl.
        elbo_standard_error: That of `elbo` and of `reconstruction`.
        reconstruction: E_q[log p(x|z)], estimated.
        kl: KL(q(Z|x) || p(Z)), closed-form.
        posterior_gap: KL(q(Z|x) || p(Z|x)) = log p(x) - ELBO(x).
        posterior: q(Z|x), of batch shape `[n]` and event shape `[latent_dim]`.
    """

    log_likelihood: tf.Tensor
    log_likelihood_standard_error: tf.Tensor
    effective_sample_size: tf.Tensor
    elbo: tf.Tensor
    elbo_standard_error: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor
    posterior_gap: tf.Tensor
    posterior_gap_standard_error: tf.Tensor
    posterior: tfd.Distribution


class Bounds(NamedTuple):
    """The mean over images of estimates of log p(x), by one method; each `[k]`, in nats per image.

    Attributes:
        num_samples: The samples per image.
        mean: In expectation a lower bound of the mean of log p(x).
        standard_error: Of `mean`, as an estimate of its expectation for the images given.
    """

    num_samples: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray


def log_likelihood(
    vae: VAE,
    images: Any,
    method: str = "importance",
    num_samples: int | None = None,
    seed: int | None = None,
    *,
    diagnostics: bool = False,
    num_steps: int = 500,
    verbose: bool | None = None,
) -> tf.Tensor | Estimate:
    """Estimates log p(x), the log-likelihood of each image under the model.

    All three methods average weights whose expectation is p(x), so that the estimate is in
    expectation a lower bound, which closes as the number of samples grows. Samples are taken in
    passes, so that the memory does not grow with their number.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1; or a `tf.data.Dataset` of batches
            of such images or of tuples that start with them.
        method: `"importance"`: latents from q(Z|x), weighted. `"prior"`: latents from p(Z), the
            naive estimate, which needs luck to find the posterior. `"annealed"`: chains of
            Hamiltonian Monte Carlo that lead from the prior to the posterior; the slowest, and the
            only one that does not depend on how good the encoder is.
        num_samples: Samples per image; by default 5000, but 64 chains for `"annealed"`.
        seed: The same seed gives the same estimate; None gives a new one at each call.
        diagnostics: Whether to return the standard error and the effective sample size too.
        num_steps: The temperatures between prior and posterior; only `"annealed"` has them.
        verbose: Whether to show a progress bar; None shows it for data sets.

    Returns:
        `[n]`, in nats per image, or, with `diagnostics`, an `Estimate` of three such tensors.

    Warns:
        LowEffectiveSampleSizeWarning: If the weights of some images are too uneven for the
            estimate to be trusted.

    References:
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519.
        Neal. Annealed Importance Sampling. 1998. arXiv:physics/9803008.
        Wu et al. On the Quantitative Analysis of Decoder-Based Generative Models. 2016.
        arXiv:1611.04273.
    """
    check_choice("method", method, _DEFAULT_NUM_SAMPLES)
    num_samples = _DEFAULT_NUM_SAMPLES[method] if num_samples is None else num_samples
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_steps = check_integer("num_steps", num_steps, minimum=1)

    def estimate(part, seed):
        if method == "annealed":
            (weights,) = annealed_weights(vae, part, None, num_samples, num_steps, seed)
        else:
            proposal = vae.encode(part) if method == "importance" else None
            weights = _sum_over_samples(vae, part, proposal, num_samples, seed).weights
        return Estimate(
            importance.log_mean(weights, num_samples),
            standard_error=importance.standard_error(weights, num_samples),
            effective_sample_size=importance.effective_sample_size(weights),
        )

    result = estimate_in_batches(vae, images, num_samples, seed, estimate, verbose=verbose)
    _warn_if_uneven(result.effective_sample_size, num_samples)
    return result if diagnostics else result.log_likelihood


def evidence(
    vae: VAE,
    images: Any,
    num_samples: int = 5000,
    seed: int | None = None,
    *,
    posterior: tfd.Distribution | None = None,
    verbose: bool | None = None,
) -> Evidence:
    """Estimates log p(x), the ELBO and the gap between them from the same samples of q(Z|x).

    Args:
        vae: The model.
        images: As for `log_likelihood`.
        num_samples: Samples per image.
        seed: The same seed gives the same estimates; None gives new ones at each call.
        posterior: What to take as q(Z|x) in place of `vae.encode(images)`: a factorial normal of
            batch shape `[n]` and event shape `[latent_dim]`, such as `tfvae.inference.refine`
            gives. The images must then be an array.
        verbose: Whether to show a progress bar; None shows it for data sets.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)

    def estimate(part, seed, proposal=None):
        proposal = vae.encode(part) if proposal is None else proposal
        sums = _sum_over_samples(vae, part, proposal, num_samples, seed)
        log_likelihood = importance.log_mean(sums.weights, num_samples)
        log_likelihood_error = importance.standard_error(sums.weights, num_samples)
        kl = tf.cast(tfd.kl_divergence(proposal, vae.prior), tf.float64)
        reconstruction = sums.reconstruction / num_samples
        if num_samples == 1:
            elbo_error = gap_error = log_likelihood_error
        else:
            variance = tf.maximum(sums.squared_reconstruction / num_samples - reconstruction**2, 0)
            # Of log p(x|z) and the weight, because both are averages over the same samples.
            covariance = sums.weighted_reconstruction - reconstruction
            gap_variance = (variance - 2 * covariance) / (num_samples - 1) + log_likelihood_error**2
            elbo_error = tf.sqrt(variance / (num_samples - 1))
            gap_error = tf.sqrt(tf.maximum(gap_variance, 0))
        return Evidence(
            log_likelihood=log_likelihood,
            log_likelihood_standard_error=log_likelihood_error,
            effective_sample_size=importance.effective_sample_size(sums.weights),
            elbo=reconstruction - kl,
            elbo_standard_error=elbo_error,
            reconstruction=reconstruction,
            kl=kl,
            posterior_gap=log_likelihood - (reconstruction - kl),
            posterior_gap_standard_error=gap_error,
            posterior=proposal,
        )

    result = estimate_in_batches(
        vae, images, num_samples, seed, estimate, per_image=posterior, verbose=verbose
    )
    _warn_if_uneven(result.effective_sample_size, num_samples)
    return result


def bounds_by_num_samples(
    vae: VAE,
    images: Any,
    num_samples: Mapping[str, Sequence[int]] = _COMPARED_NUM_SAMPLES,
    seed: int = 0,
    *,
    num_steps: int = 500,
) -> dict[str, Bounds]:
    """Estimates log p(x) by several methods and numbers of samples.

    Args:
        vae: The model.
        images: `[n, height, width, channels]`, floating, 0 or 1; a hundred show the picture.
        num_samples: The numbers of samples per image, by method of `tfvae.log_likelihood`.
        seed: The same seed gives the same numbers.
        num_steps: The temperatures of `annealed`.
    """
    bounds = {}
    for method, counts in num_samples.items():
        with warnings.catch_warnings():
            # Bounds that are far off are what is to be seen.
            warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
            options: dict[str, Any] = {"seed": seed, "num_steps": num_steps, "diagnostics": True}
            estimates = [log_likelihood(vae, images, method, n, **options) for n in counts]
        means = [np.mean(np.asarray(x.log_likelihood, np.float64)) for x in estimates]
        errors = [np.asarray(x.standard_error, np.float64) for x in estimates]
        errors = [np.linalg.norm(of_images) / len(of_images) for of_images in errors]
        bounds[method] = Bounds(np.array(counts), np.array(means), np.array(errors))
    return bounds


class Sums(NamedTuple):
    """Sums over samples of a proposal, or of the prior, each `[batch]`, float64.

    They are of the importance weights p(x, z) / proposal(z), of log p(x|z) and of its square;
    `weighted_reconstruction` is the mean of log p(x|z) by the weights.
    """

    weights: importance.WeightSums
    reconstruction: tf.Tensor
    squared_reconstruction: tf.Tensor
    weighted_reconstruction: tf.Tensor


def _sum_over_samples(vae, images, proposal, num_samples, seed):
    num_passes = math.ceil(num_samples * images.shape[0] / latents_per_pass(vae))
    samples_per_pass = math.ceil(num_samples / num_passes)
    counts = tf.constant(num_samples), tf.constant(samples_per_pass)
    return sum_in_passes(vae, images, proposal, *counts, seed)


def _draw(proposal, sample_shape, seed, index):
    return proposal.sample(sample_shape, seed=tf.random.fold_in(seed, index))


@tf.function(reduce_retracing=True)
def sum_in_passes(
    vae: VAE,
    images: tf.Tensor,
    proposal: tfd.Distribution | None,
    num_samples: tf.Tensor,
    samples_per_pass: tf.Tensor,
    seed: tf.Tensor,
    draw: Callable[..., tf.Tensor] = _draw,
) -> Sums:
    """The sums over samples of the proposal, of the prior if it is None, a few at a time.

    `draw` gives latents `[samples, batch, latent_dim]` of the proposal, by the shape of the sample,
    the seed and the index of the pass. It is a function of a module: each one is traced again.
    """
    total = _sum_of_pass(vae, images, proposal, num_samples, samples_per_pass, seed, draw, 0)
    for index in tf.range(1, (num_samples - 1) // samples_per_pass + 1):
        part = _sum_of_pass(vae, images, proposal, num_samples, samples_per_pass, seed, draw, index)
        weights = importance.add_sums(total.weights, part.weights)
        share = tf.exp(part.weights.log_sum - weights.log_sum)
        change = part.weighted_reconstruction - total.weighted_reconstruction
        total = Sums(
            weights,
            total.reconstruction + part.reconstruction,
            total.squared_reconstruction + part.squared_reconstruction,
            total.weighted_reconstruction + share * change,
        )
    return total


def _sum_of_pass(vae, images, proposal, num_samples, samples_per_pass, seed, draw, index):
    sample_shape = samples_per_pass
    if proposal is None:
        proposal, sample_shape = vae.prior, [samples_per_pass, tf.shape(images)[0]]
    latents = draw(proposal, sample_shape, seed, index)
    reconstruction = vae.decode(latents).log_prob(images)
    log_ratio = vae.prior.log_prob(latents) - proposal.log_prob(latents)
    # The last pass may draw more samples than are wanted.
    num_wanted = num_samples - index * samples_per_pass
    reconstruction = tf.cast(reconstruction[:num_wanted], tf.float64)
    log_weights = reconstruction + tf.cast(log_ratio[:num_wanted], tf.float64)
    return Sums(
        importance.sum_weights(log_weights),
        tf.reduce_sum(reconstruction, axis=0),
        tf.reduce_sum(reconstruction**2, axis=0),
        tf.reduce_sum(tf.nn.softmax(log_weights, axis=0) * reconstruction, axis=0),
    )


def _warn_if_uneven(effective_sample_size, num_samples):
    num_uneven = int(np.count_nonzero(effective_sample_size < _TRUSTED_EFFECTIVE_SAMPLE_SIZE))
    if num_uneven:
        warnings.warn(
            f"for {num_uneven} of {len(effective_sample_size)} images the effective sample size of "
            f"{num_samples} samples is below {_TRUSTED_EFFECTIVE_SAMPLE_SIZE:g} (smallest "
            f"{float(tf.reduce_min(effective_sample_size)):.1f}): their log-likelihood is likely "
            "too low, and its standard error too small; take more samples or another method",
            LowEffectiveSampleSizeWarning,
            stacklevel=3,
        )
