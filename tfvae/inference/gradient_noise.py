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

    Raises:
        InputError: If `images` are not such images, there is no such objective, `num_draws` is
            too small, `seed` is not a seed, or no variable is trainable.

    References:
        Mohamed et al. Monte Carlo Gradient Estimation in Machine Learning. 2019. arXiv:1906.10652.
        Rainforth et al. Tighter Variational Bounds are Not Necessarily Better. 2018.
        arXiv:1802.04537 (the signal-to-noise ratio).
    """
    num_draws = check_integer("num_draws", num_draws, minimum=4)
    num_groups = min(num_draws // 2, _MAX_NUM_GROUPS)
    moments = {}
    for draw, gradients in enumerate(gradient_draws(vae, images, objective, num_draws, seed)):
        for network, gradient in gradients.items():
            if network not in moments:
                moments[network] = _Moments(gradient, num_groups)
            moments[network].add(gradient, group=draw % num_groups)
    return {network: of_network.variance() for network, of_network in moments.items()}


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
    variables = {name: network.trainable_variables for name, network in networks.items()}
    variables = {name: of_network for name, of_network in variables.items() if of_network}
    if not variables:
        raise InputError("the model has no trainable variables, so there are no gradients")
    images = check_images(images, vae.image_shape)
    if images.shape[0] == 0:
        raise InputError("images are empty: give a batch of at least one")
    dtype = vae.distribution_dtype

    @tf.function
    def gradients(seed):
        noise = objective.draw_noise(len(images), vae.latent_dim, seed=seed, dtype=dtype)
        with tf.GradientTape() as tape:
            terms = objective(
                tf.cast(images, dtype),
                posterior=vae.encode(images),
                prior=vae.prior,
                decode=vae.decode,
                noise=noise,
            )
            mean = tf.reduce_mean(terms.objective)
        by_network = tape.gradient(mean, variables, unconnected_gradients="zero")
        return {
            name: tf.concat([tf.reshape(part, [-1]) for part in gradient], axis=0)
            for name, gradient in by_network.items()
        }

    seed = stateless_seed(seed)
    for draw in range(num_draws):
        drawn = gradients(tf.random.fold_in(seed, draw))
        yield {name: gradient.numpy() for name, gradient in drawn.items()}


class _Moments:
    """The first two moments, by group of draws, of a gradient's difference from its first draw.

    Of these differences no digits cancel where the variance is far smaller than the gradient.
    """

    def __init__(self, origin, num_groups):
        self.origin = origin.astype(np.float64)
        self.counts = np.zeros(num_groups)
        self.sums = np.zeros([num_groups, origin.size])
        self.squares = np.zeros(num_groups)

    def add(self, gradient, group):
        deviation = gradient - self.origin
        self.counts[group] += 1
        self.sums[group] += deviation
        self.squares[group] += deviation @ deviation

    def variance(self):
        whole = self.counts.sum(), self.sums.sum(axis=0), self.squares.sum()
        estimate = self._statistics(*whole)
        groups = zip(self.counts, self.sums, self.squares, strict=True)
        without_one = [
            self._statistics(*(all_ - one for all_, one in zip(whole, group, strict=True)))
            for group in groups
        ]
        with np.errstate(invalid="ignore"):
            errors = np.sqrt(np.var(without_one, axis=0) * (len(without_one) - 1))
        return GradientVariance(*np.stack([estimate, errors], axis=1).ravel().tolist())

    def _statistics(self, count, total, squares):
        """The trace of the covariance, the mean variance and the signal-to-noise ratio."""
        trace = max(squares - total @ total / count, 0.0) / (count - 1)
        expectation = self.origin + total / count
        # The square of the mean gradient, without the part of it that is noise.
        signal = max(expectation @ expectation - trace / count, 0.0)
        return trace, trace / total.size, np.sqrt(signal / trace) if trace > 0 else np.inf
