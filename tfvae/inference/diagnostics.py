"""What a trained model is worth: its likelihood, its latents, and the parts of its KL."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_integer
from tfvae.common.seeds import stateless_seed
from tfvae.inference.marginal_likelihood import evidence
from tfvae.vae import VAE

# A latent dimension is active if the variance of its posterior mean over images is above this.
_ACTIVE_VARIANCE = 0.01

# The number of terms log q(z_j|x_n) at once: some 40 MB in float32.
_TERMS_PER_PASS = 10_000_000


class KLParts(NamedTuple):
    """The mean of KL(q(Z|x) || p(Z)) over a data set, split into three; scalars, in nats per image.

    With q(z) the mean of q(z|x) over the images of the data set, no part is negative, and their
    sum is the mean KL. Each `_standard_error` is that of the Monte Carlo estimate for the data set
    given.

    Attributes:
        mutual_information: E[log q(z|x) - log q(z)], between image and latents; at most the
            logarithm of the number of images.
        total_correlation: E[log q(z) - sum_j log q(z_j)], between the latent dimensions.
        dimension_wise_kl: E[sum_j log q(z_j) - log p(z)], of each dimension's aggregate posterior
            from the prior.
    """

    mutual_information: tf.Tensor
    total_correlation: tf.Tensor
    dimension_wise_kl: tf.Tensor
    mutual_information_standard_error: tf.Tensor
    total_correlation_standard_error: tf.Tensor
    dimension_wise_kl_standard_error: tf.Tensor


def kl_per_dimension(
    posterior: tfd.Distribution, prior: tfd.Distribution, *, per_image: bool = False
) -> tf.Tensor:
    """KL(q(Z_j|x) || p(Z_j)) for each latent dimension j, by default the mean over the images.

    Args:
        posterior: q(Z|x), a factorial normal of batch shape `[n]`, such as `vae.encode(images)`.
        prior: p(Z), such as `vae.prior`.
        per_image: Whether to return the divergences of each image.

    Returns:
        `[latent_dim]`, or `[n, latent_dim]` with `per_image`, in nats per image.
    """
    divergences = tfd.kl_divergence(_factors(posterior), _factors(prior))
    return divergences if per_image else tf.reduce_mean(divergences, axis=0)


def active_units(posterior: tfd.Distribution) -> tf.Tensor:
    """Which latent dimensions the images move: Var_x[E_q[z_j]] > 0.01.

    Args:
        posterior: q(Z|x), of batch shape `[n]`, such as `vae.encode(images)`.

    Returns:
        bool `[latent_dim]`; their number is what the papers call active units.

    References:
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519.
    """
    return tf.math.reduce_variance(posterior.mean(), axis=0) > _ACTIVE_VARIANCE


def bits_per_dimension(log_likelihood: ArrayLike, image_shape: tuple[int, ...]) -> tf.Tensor:
    """The code length of images, -log2 p(x), divided by their number of values.

    Args:
        log_likelihood: log p(x), in nats per image, of any shape, which the result has too.
        image_shape: `(height, width, channels)`.
    """
    return -tf.convert_to_tensor(log_likelihood) / (math.prod(image_shape) * math.log(2))


def kl_parts(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    num_samples: int = 2000,
    seed: int | None = None,
) -> KLParts:
    """Splits the mean KL into mutual information, total correlation and dimension-wise KL.

    The aggregate posterior q(z) is evaluated exactly, as the mixture over all images of the data
    set; only the expectations over z are estimated.

    Args:
        posterior: q(Z|x) of all images of the data set, a factorial normal of batch shape `[n]`,
            such as `vae.encode(images)`.
        prior: p(Z), such as `vae.prior`.
        num_samples: Latents drawn from q(z), at least 2. The time is proportional to
            `num_samples` * `n` * `latent_dim`.
        seed: The same seed gives the same estimate; None gives a new one at each call.

    References:
        Hoffman and Johnson. ELBO surgery: yet another way to carve up the variational evidence
        lower bound. NIPS workshop on advances in approximate Bayesian inference 2016.
        Chen et al. Isolating Sources of Disentanglement in Variational Autoencoders. 2018.
        arXiv:1802.04942.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=2)
    order_seed, latent_seed = tf.random.split(stateless_seed(seed), 2)
    num_images, latent_dim = posterior.batch_shape[0], posterior.event_shape[0]
    # Every image equally often, as far as the numbers allow: no variance from which ones are drawn.
    order = tf.random.experimental.stateless_shuffle(tf.range(num_images), seed=order_seed)
    images = tf.gather(order, tf.range(num_samples) % num_images)
    conditional = tf.nest.map_structure(
        lambda parameters: tf.gather(parameters, images), posterior, expand_composites=True
    )
    latents = conditional.sample(seed=latent_seed)
    log_conditional = conditional.log_prob(latents)
    step = max(1, _TERMS_PER_PASS // (num_images * latent_dim))
    passes = [latents[start : start + step] for start in range(0, num_samples, step)]
    log_aggregate, log_marginals = tf.concat(
        [_log_aggregate_posterior(part, _factors(posterior)) for part in passes], axis=1
    )
    logs = tf.stack([log_conditional, log_aggregate, log_marginals, prior.log_prob(latents)])
    parts = logs[:-1] - logs[1:]
    means = tf.reduce_mean(parts, axis=1)
    errors = tf.math.reduce_std(parts, axis=1) / math.sqrt(num_samples - 1)
    return KLParts(*tf.unstack(means), *tf.unstack(errors))


def evaluate(
    vae: VAE,
    images: Any,
    num_samples: int = 5000,
    seed: int | None = None,
    *,
    verbose: bool | None = None,
) -> dict[str, Any]:
    """Evaluates a model on a data set: bounds, likelihood, gap, latents, parts of the KL.

    Args:
        vae: The model.
        images: As for `tfvae.log_likelihood`, an array or a `tf.data.Dataset`.
        num_samples: Samples of q(Z|x) per image.
        seed: The same seed gives the same numbers; None gives new ones at each call.
        verbose: Whether to show a progress bar; None shows it for data sets.

    Returns:
        Numbers by name, ready for JSON; means over the images in nats per image, unless the name
        says something else: `num_images`, `num_importance_samples`; `elbo`, `reconstruction`, `kl`,
        `log_likelihood`, `posterior_gap` and `bits_per_dim`, each with a `_stderr`;
        `log_likelihood_monte_carlo_stderr` and `posterior_gap_monte_carlo_stderr`;
        `effective_sample_size_median` and `_min`; `active_units`; `kl_per_dimension`, a list;
        `mutual_information`, `total_correlation` and `dimension_wise_kl`, each with a `_stderr`.

        A `_stderr` is over the images, with all that the Monte Carlo adds: how far the mean over
        all images of the kind may be. `_monte_carlo_stderr` and those of the last three are of the
        estimate for exactly these images. Where one image or sample allows no error, it is None.

    """
    result = evidence(vae, images, num_samples, seed, verbose=verbose)
    parts = kl_parts(result.posterior, vae.prior, seed=seed)
    effective = np.asarray(result.effective_sample_size, np.float64)
    numbers: dict[str, Any] = {"num_images": len(effective), "num_importance_samples": num_samples}
    terms = ("elbo", "reconstruction", "kl", "log_likelihood", "posterior_gap")
    values = {name: getattr(result, name) for name in terms}
    values["bits_per_dim"] = bits_per_dimension(result.log_likelihood, vae.image_shape)
    for name, of_images in values.items():
        numbers[name], numbers[f"{name}_stderr"] = mean_and_standard_error(of_images)
    for name in ("log_likelihood", "posterior_gap"):
        errors = np.asarray(getattr(result, f"{name}_standard_error"), np.float64)
        error = float(np.linalg.norm(errors) / len(errors))
        numbers[f"{name}_monte_carlo_stderr"] = error if math.isfinite(error) else None
    numbers["effective_sample_size_median"] = float(np.median(effective))
    numbers["effective_sample_size_min"] = float(np.min(effective))
    numbers["active_units"] = int(np.count_nonzero(active_units(result.posterior)))
    numbers["kl_per_dimension"] = kl_per_dimension(result.posterior, vae.prior).numpy().tolist()
    for name in ("mutual_information", "total_correlation", "dimension_wise_kl"):
        numbers[name] = float(getattr(parts, name))
        numbers[f"{name}_stderr"] = float(getattr(parts, f"{name}_standard_error"))
    return numbers


def mean_and_standard_error(values: ArrayLike) -> tuple[float, float | None]:
    """The mean of values of images `[n]`, and its standard error; None for a single image."""
    values = np.asarray(values, np.float64)
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error


def _factors(distribution):
    """The distributions of the single dimensions, of batch shape `[..., latent_dim]`."""
    return distribution.distribution


@tf.function(reduce_retracing=True)
def _log_aggregate_posterior(latents, factors):
    """Log q(z), and the sum over j of log q(z_j): `[2, samples]`."""
    terms = factors.log_prob(latents[:, tf.newaxis])
    log_joint = tfp.math.reduce_logmeanexp(tf.reduce_sum(terms, axis=-1), axis=1)
    log_marginals = tfp.math.reduce_logmeanexp(terms, axis=1)
    return tf.stack([log_joint, tf.reduce_sum(log_marginals, axis=-1)])
