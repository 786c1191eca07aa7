"""Estimates of log p(x), each with its standard error and its effective sample size."""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.seeds import stateless_seed
from tfvae.inference import annealing
from tfvae.inference.importance import (
    evidence_columns,
    factorial_normal,
    importance_columns,
    log_sums,
    parameters_of,
    prior_columns,
)
from tfvae.inference.passes import over_images
from tfvae.vae import VAE

tfd = tfp.distributions

DEFAULT_NUM_SAMPLES = {"prior": 5000, "importance": 5000, "annealed": 64}
"""A sample of `annealed` is a whole chain, so that far fewer do."""

TRUSTED_EFFECTIVE_SAMPLE_SIZE = 10.0
"""Below it, an estimate and its standard error hang on a few samples."""


class LowEffectiveSampleSizeWarning(UserWarning):
    """An estimate of log p(x) rests on so few samples that even its standard error is doubtful."""


class Estimate(NamedTuple):
    """An estimate of log p(x); each `[n]`, one value per image.

    Attributes:
        log_likelihood: The logarithm of the mean importance weight, in nats per image. In
            expectation a lower bound of log p(x).
        standard_error: Of `log_likelihood`, in nats, by the delta method; infinite for one sample.
        effective_sample_size: How many equal weights would tell as much: from 1 to the number of
            samples.
    """

    log_likelihood: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor


class Evidence(NamedTuple):
    """Both sides of ELBO(x) = log p(x) - KL(q(Z|x) || p(Z|x)), from the same samples of q(Z|x).

    Each `[n]`, in nats per image, where nothing else is said.

    Attributes:
        log_likelihood: The importance-weighted estimate of log p(x).
        log_likelihood_standard_error: Its standard error.
        effective_sample_size: That of the importance weights, from 1 to the number of samples.
        elbo: reconstruction - kl.
        elbo_standard_error: Its standard error, which is that of `reconstruction`.
        reconstruction: E_q[log p(x|z)], estimated.
        kl: KL(q(Z|x) || p(Z)), closed-form.
        posterior_gap: KL(q(Z|x) || p(Z|x)) = log p(x) - ELBO(x).
        posterior_gap_standard_error: Its standard error, which knows that both terms come from the
            same samples.
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


class Sandwich(NamedTuple):
    """Bounds from both sides on log p(x) of images that the model itself drew.

    Each `[n]`, in nats per image, where nothing else is said.

    Attributes:
        images: `[n, height, width, channels]`, the images, 0 or 1.
        latents: `[n, latent_dim]`, the latents they were drawn with: exact samples of p(Z|x).
        lower: In expectation at most log p(x): annealing from the start to the posterior.
        lower_standard_error: Its standard error, by the delta method.
        upper: In expectation at least log p(x): annealing from the exact posterior sample back.
        upper_standard_error: Its standard error, by the delta method, for the posterior sample
            given. What another sample would give, only the spread over the images tells.
    """

    images: tf.Tensor
    latents: tf.Tensor
    lower: tf.Tensor
    lower_standard_error: tf.Tensor
    upper: tf.Tensor
    upper_standard_error: tf.Tensor


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
        num_samples: Samples per image; 5000 if None, but 64 chains of `"annealed"`.
        seed: The same seed gives the same estimate; None gives a new one at each call.
        diagnostics: Whether to return the standard error and the effective sample size too.
        num_steps: The temperatures between prior and posterior, of `"annealed"` alone.
        verbose: Whether to show a progress bar; None shows it for data sets.

    Returns:
        `[n]`, in nats per image, or, with `diagnostics`, an `Estimate` of three such tensors.

    Raises:
        InputError: If the images are not such images or none, `num_samples` or `num_steps` is not
            positive, `seed` is not a seed or there is no such method.

    Warns:
        LowEffectiveSampleSizeWarning: If the weights of some images are too uneven for the
            estimate to be trusted.

    Example:
        >>> estimate = tfvae.log_likelihood(vae, images, num_samples=5000, diagnostics=True)
        >>> estimate.log_likelihood, estimate.standard_error

    References:
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519.
        Neal. Annealed Importance Sampling. 1998. arXiv:physics/9803008.
        Wu et al. On the Quantitative Analysis of Decoder-Based Generative Models. 2016.
        arXiv:1611.04273.
    """
    check_choice("method", method, DEFAULT_NUM_SAMPLES)
    num_samples = DEFAULT_NUM_SAMPLES[method] if num_samples is None else num_samples
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_steps = check_integer("num_steps", num_steps, minimum=1)
    if method == "annealed":
        steps = tf.constant(num_steps)

        def estimate(part, seed):
            return annealing.log_sums(
                vae, part, steps, num_samples, seed, parameters=_prior(vae, part)
            )
    else:
        draw = {"importance": importance_columns, "prior": prior_columns}[method]

        def estimate(part, seed):
            return log_sums(vae, part, draw, num_samples, seed, parameters_of(vae.encode(part)))

    sums = over_images(vae, images, num_samples, seed, estimate, verbose=verbose)
    result = _estimate(sums[:, 0], sums[:, 1], num_samples, vae.distribution_dtype)
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

    Returns:
        The `Evidence`.

    Raises:
        InputError: As `log_likelihood` does.

    Warns:
        LowEffectiveSampleSizeWarning: As `log_likelihood` does.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    given = None if posterior is None else parameters_of(posterior)

    def estimate(part, seed, parameters=None):
        parameters = parameters_of(vae.encode(part)) if parameters is None else parameters
        sums = log_sums(vae, part, evidence_columns, num_samples, seed, parameters)
        return sums, parameters

    sums, parameters = over_images(
        vae, images, num_samples, seed, estimate, verbose=verbose, along=given
    )
    result = _evidence(vae, sums, num_samples, posterior=factorial_normal(parameters))
    _warn_if_uneven(result.effective_sample_size, num_samples)
    return result


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
    own posterior. From there the annealing can be run backwards, which gives an upper bound where
    running it forwards gives a lower one.

    Args:
        vae: The model.
        num_images: How many images to draw.
        num_samples: Chains per image and direction.
        seed: The same seed gives the same images and bounds; None gives new ones at each call.
        num_steps: The temperatures between the start and the posterior.
        start: Where the lower bound's chains start and the upper bound's end. `"encoder"`: at
            q(Z|x), which is close to the posterior, so that few temperatures do. `"prior"`: at
            p(Z), which knows nothing of the encoder and takes many times more.
        verbose: Whether to show a progress bar.

    Returns:
        The `Sandwich`.

    Raises:
        InputError: If a number is not positive, `seed` is not a seed, or there is no such start.

    References:
        Grosse et al. Sandwiching the marginal likelihood using bidirectional Monte Carlo. 2015.
        arXiv:1511.02543.
    """
    check_choice("start", start, ("encoder", "prior"))
    num_images = check_integer("num_images", num_images, minimum=1)
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    num_steps = check_integer("num_steps", num_steps, minimum=1)
    latent_seed, pixel_seed, chain_seed = tf.unstack(
        tf.random.experimental.stateless_split(stateless_seed(seed), 3)
    )
    latents = vae.prior.sample(num_images, seed=latent_seed)
    images = vae.decode(latents).sample(seed=pixel_seed)
    steps = tf.constant(num_steps)

    def estimate(part, seed, part_latents):
        parameters = parameters_of(vae.encode(part)) if start == "encoder" else _prior(vae, part)
        return annealing.log_sums(
            vae,
            part,
            steps,
            num_samples,
            seed,
            parameters=parameters,
            exact_latents=part_latents,
        )

    sums = over_images(
        vae, images, num_samples, chain_seed, estimate, verbose=verbose, along=latents
    )
    dtype = vae.distribution_dtype
    lower = _estimate(sums[:, 0], sums[:, 1], num_samples, dtype)
    # The reverse weights have the expectation 1 / p(x).
    inverse = _estimate(sums[:, 2], sums[:, 3], num_samples, dtype)
    return Sandwich(
        images=images,
        latents=latents,
        lower=lower.log_likelihood,
        lower_standard_error=lower.standard_error,
        upper=-inverse.log_likelihood,
        upper_standard_error=inverse.standard_error,
    )


def _prior(vae, images):
    """The parameters of the prior, for each image."""
    zeros = tf.zeros([images.shape[0], vae.latent_dim], vae.distribution_dtype)
    return tf.stack([zeros, tf.ones_like(zeros)], axis=1)


def _estimate(log_sum, log_sum_of_squares, num_samples, dtype):
    effective_sample_size = tf.exp(2 * log_sum - log_sum_of_squares)
    standard_error = _delta_standard_error(effective_sample_size, num_samples)
    return Estimate(
        tf.cast(log_sum - math.log(num_samples), dtype),
        standard_error=tf.cast(standard_error, dtype),
        effective_sample_size=tf.cast(effective_sample_size, dtype),
    )


def _delta_standard_error(effective_sample_size, num_samples):
    """Of the logarithm of a mean weight: the relative standard error of the mean."""
    if num_samples == 1:
        return tf.fill(tf.shape(effective_sample_size), tf.constant(np.inf, tf.float64))
    relative_variance = (num_samples / effective_sample_size - 1) / (num_samples - 1)
    return tf.sqrt(tf.maximum(relative_variance, 0))


def _evidence(vae, sums, num_samples, *, posterior):
    log_sum, log_sum_of_squares, log_first, log_second, log_cross = tf.unstack(sums, axis=1)
    kl = tf.cast(tfd.kl_divergence(posterior, vae.prior), tf.float64)
    estimate = _estimate(log_sum, log_sum_of_squares, num_samples, tf.float64)
    count = tf.constant(num_samples, tf.float64)
    degrees_of_freedom = tf.constant(num_samples - 1, tf.float64)
    reconstruction = -tf.exp(log_first) / count
    variance = tf.maximum(tf.exp(log_second) / count - reconstruction**2, 0)
    # Of log p(x|z) with the weight, as both are averages over the same samples.
    covariance = -tf.exp(log_cross - log_sum) - reconstruction
    if num_samples == 1:
        elbo_error = gap_error = estimate.standard_error
    else:
        elbo_error = tf.sqrt(variance / degrees_of_freedom)
        gap_variance = (
            estimate.standard_error**2 + elbo_error**2 - 2 * covariance / degrees_of_freedom
        )
        gap_error = tf.sqrt(tf.maximum(gap_variance, 0))
    elbo = reconstruction - kl
    numbers = {
        "log_likelihood": estimate.log_likelihood,
        "log_likelihood_standard_error": estimate.standard_error,
        "effective_sample_size": estimate.effective_sample_size,
        "elbo": elbo,
        "elbo_standard_error": elbo_error,
        "reconstruction": reconstruction,
        "kl": kl,
        "posterior_gap": estimate.log_likelihood - elbo,
        "posterior_gap_standard_error": gap_error,
    }
    dtype = vae.distribution_dtype
    return Evidence(
        **{name: tf.cast(number, dtype) for name, number in numbers.items()}, posterior=posterior
    )


def _warn_if_uneven(effective_sample_size, num_samples):
    uneven = int(np.count_nonzero(effective_sample_size < TRUSTED_EFFECTIVE_SAMPLE_SIZE))
    if uneven:
        warnings.warn(
            f"for {uneven} of {len(effective_sample_size)} images the effective sample size of "
            f"{num_samples} samples is below {TRUSTED_EFFECTIVE_SAMPLE_SIZE:g} (smallest "
            f"{float(tf.reduce_min(effective_sample_size)):.1f}): their log-likelihood is likely "
            "too low, and its standard error too small; take more samples or another method",
            LowEffectiveSampleSizeWarning,
            stacklevel=3,
        )
