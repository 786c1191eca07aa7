"""How noisy the gradient estimators of the objectives are, on a given model and batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae import objectives
from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.images import check_images
from tfvae.common.seeds import stateless_seed
from tfvae.vae import VAE

# Draws are put into at most so many groups; the jackknife leaves out one group at a time.
_MAX_NUM_GROUPS = 20


class GradientVariance(NamedTuple):
    """The variance of one network's gradient under the noise of the latents.

    The gradient is that of the objective's mean over the images of the batch, in nats per image
    and unit of parameter. All standard errors are those of a jackknife over groups of draws.

    Attributes:
        total: The trace of the gradient's covariance, the sum of the parameters' variances.
        mean: The mean of the parameters' variances.
        signal_to_noise: The norm of the gradient's expectation, divided by the square root of
            `total`. 0 where the draws are too few to tell that expectation from zero, infinite
            where there is no noise.
        signal_to_noise_standard_error: Not a number where `signal_to_noise` is infinite.
    """

    total: float
    total_standard_error: float
    mean: float
    mean_standard_error: float
    signal_to_noise: float
    signal_to_noise_standard_error: float


def gradient_variance(
    vae: VAE,
    images: tf.Tensor,
    objective: str | objectives.Objective = "elbo",
    num_draws: int = 100,
    seed: int | None = None,
) -> dict[str, GradientVariance]:
    """The variance of an objective's gradient estimator on a model and a batch.

    Only the latents are drawn anew, so this is the part of the noise of training that the
    estimator is to blame for. It takes the memory of 20 times the parameters, in float64.

    Args:
        vae: The model; it need not be compiled, and nothing in it changes.
        images: `[batch, height, width, channels]`, floating, in [0, 1].
        objective: The objective with the gradient estimator, as in `vae.compile`.
        num_draws: How many gradients are drawn, at least 4.
        seed: The same seed gives the same draws, whatever the objective; None gives new ones.

    Returns:
        The variances by network, `"encoder"` and `"decoder"`, without a network that has no
        trainable variables.

    References:
        Mohamed et al. Monte Carlo Gradient Estimation in Machine Learning. 2019. arXiv:1906.10652.
        Rainforth et al. Tighter Variational Bounds are Not Necessarily Better. 2018.
        arXiv:1802.04537 (the signal-to-noise ratio).
    """
    num_draws = check_integer("num_draws", num_draws, minimum=4)
    num_groups = min(num_draws // 2, _MAX_NUM_GROUPS)
    origins: dict[str, np.ndarray] = {}
    totals: dict[str, np.ndarray] = {}
    for draw, gradients in enumerate(gradient_draws(vae, images, objective, num_draws, seed)):
        for network, gradient in gradients.items():
            if network not in origins:
                # Of differences from the first draw no digits cancel, however small the variance.
                origins[network] = gradient.astype(np.float64)
                totals[network] = np.zeros([num_groups, 2 + gradient.size])
            difference = gradient - origins[network]
            moments = np.concatenate([[1, difference @ difference], difference])
            totals[network][draw % num_groups] += moments
    return {network: _variance(origins[network], totals[network]) for network in origins}


def gradient_draws(
    vae: VAE,
    images: tf.Tensor,
    objective: str | objectives.Objective = "elbo",
    num_draws: int = 100,
    seed: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Independent draws of an objective's gradient, from the same images and new latents.

    The arguments are those of `gradient_variance`, but `num_draws` may be any number.

    Yields:
        By network, `"encoder"` and `"decoder"`, the gradient of the objective's mean over the
        images with respect to its trainable variables, in their order: `[num_parameters]`.
    """
    objective = objectives.get(objective)
    networks = {"encoder": vae.encoder, "decoder": vae.decoder}
    variables = {name: x.trainable_variables for name, x in networks.items() if x.trainable_weights}
    if not variables:
        raise InputError("the model has no trainable variables, so there are no gradients")
    images = check_images(images, vae.image_shape, nonempty=True)

    @tf.function
    def gradients(seed):
        noise = vae.draw_noise(objective, images, seed)
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(vae.terms(objective, images, noise).objective)
        by_network = tape.gradient(mean, variables, unconnected_gradients="zero")
        return {
            name: tf.concat([tf.reshape(part, [-1]) for part in gradient], axis=0)
            for name, gradient in by_network.items()
        }

    seed = stateless_seed(seed)
    for draw in range(num_draws):
        drawn = gradients(tf.random.fold_in(seed, draw))
        yield {name: gradient.numpy() for name, gradient in drawn.items()}


def _variance(origin, totals):
    """The variance of a gradient, from the totals of moments in each group of draws.

    Each row has the number of draws, the sum of the squared norms of their differences from the
    origin, and the sum of these differences.
    """
    whole = totals.sum(axis=0)
    without_one = [_statistics(origin, whole - group) for group in totals]
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.var(without_one, axis=0) * (len(totals) - 1))
    statistics = np.stack([_statistics(origin, whole), errors], axis=1)
    return GradientVariance(*statistics.ravel().tolist())


def _statistics(origin, totals):
    """The trace of the covariance, the mean variance and the signal-to-noise ratio."""
    count, squares, differences = totals[0], totals[1], totals[2:]
    trace = max(squares - differences @ differences / count, 0.0) / (count - 1)
    expectation = origin + differences / count
    # The square of the mean gradient, without the part of it that is noise.
    signal = max(expectation @ expectation - trace / count, 0.0)
    return trace, trace / origin.size, np.sqrt(signal / trace) if trace > 0 else np.inf
