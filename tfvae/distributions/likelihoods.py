"""Likelihoods p(X|z): what the decoder's output says of each value of an image.

Level k of n stands in an image as k / (n - 1).
"""

import abc
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_choice, check_integer, check_number
from tfvae.distributions import discretized_logistic, families
from tfvae.distributions.factorial import FactorialBernoulli

SMALLEST_STDDEV = 1e-3
"""The floor of a learned standard deviation: a density that is surer than this of 8-bit images, a
level of which is 0.004 wide, measures how they were rounded."""

# The standard deviation, or the scale, where the network gives zeros.
_INITIAL_SCALE = 0.1


class Likelihood(families.Family):
    """p(X|z) by the decoder's output, one factor for each value of an image.

    Attributes:
        levels: How many values a pixel can have, evenly spaced in [0, 1]; None where p(x|z) is a
            density, on that scale.
    """

    levels: int | None = None

    @abc.abstractmethod
    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """p(X|z) of the decoder's output.

        Args:
            parameters: `[..., height, width, num_parameters * channels]`.

        Returns:
            Of batch shape `[...]` and event shape `[height, width, channels]`.
        """

    def sample(self, distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
        """The images that noise makes, a function of the distribution and of the noise alone.

        Args:
            distribution: As `distribution` gives it.
            noise: `[..., height, width, channels]`, uniform in [0, 1).
        """
        # The quantile of 0 is infinite, and so is that of 1, to which a cast may have rounded.
        noise = tf.clip_by_value(noise, 2.0**-25, 1 - 2.0**-24)
        return distribution.distribution.quantile(noise)

    @abc.abstractmethod
    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Parameters `[..., num_parameters * channels]` of a mean `[..., channels]` in (0, 1).

        A decoder's bias starts there, so that its first images have the mean of the data.
        """


@keras.saving.register_keras_serializable(package="tfvae")
class Bernoulli(Likelihood):
    """Pixels of 0 and 1. The parameter is the log-odds of 1."""

    levels = 2

    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """See `Likelihood.distribution`."""
        return FactorialBernoulli(parameters)

    def sample(self, distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
        """See `Likelihood.sample`."""
        return tf.cast(noise < distribution.mean(), distribution.dtype)

    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood.parameters_of_mean`."""
        return np.log(mean) - np.log1p(-mean)


@keras.saving.register_keras_serializable(package="tfvae")
class ContinuousBernoulli(Likelihood):
    """A density on [0, 1], proportional to that of the Bernoulli; the parameter is its logit.

    References:
        Loaiza-Ganem and Cunningham. The Continuous Bernoulli: Fixing a Pervasive Error in
        Variational Autoencoders. 2019. arXiv:1907.06845.
    """

    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """See `Likelihood.distribution`."""
        pixels = tfd.ContinuousBernoulli(logits=parameters, dtype=parameters.dtype)
        return tfd.Independent(pixels, 3)

    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood.parameters_of_mean`."""
        bound = np.full_like(mean, 2e3)
        return tfp.math.find_root_chandrupatla(
            lambda logits: tfd.ContinuousBernoulli(logits=logits).mean() - mean, -bound, bound
        ).estimated_root.numpy()


@keras.saving.register_keras_serializable(package="tfvae")
class Normal(Likelihood):
    """A normal density. The first parameter is the location.

    A learned standard deviation is at least `SMALLEST_STDDEV`, 0.001: where a pixel is the same in
    all images, its density would grow without end.

    Args:
        stddev: `"shared"`: one for all pixels, a weight that is learned. `"pixel"`: one for each
            pixel and image, the second parameter. A number: fixed.

    Raises:
        InputError: If `stddev` is something else.

    References:
        Rybkin et al. Simple and Effective VAE Training with Calibrated Decoders. 2020.
        arXiv:2006.13202 (`"shared"`).
    """

    def __init__(self, stddev: float | str = "shared", **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(stddev, str):
            check_choice("stddev", stddev, ("shared", "pixel"))
        else:
            stddev = check_number("stddev", stddev, above=0)
        self.stddev = stddev
        self.num_parameters = 2 if stddev == "pixel" else 1

    def build(self, image_shape: Any) -> None:
        """Makes the shared standard deviation."""
        if self.stddev == "shared":
            self.unconstrained_stddev = self.add_weight(
                name="unconstrained_stddev", initializer="zeros", autocast=False
            )
        self.built = True

    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """See `Likelihood.distribution`."""
        loc, stddev = parameters, self.stddev
        if stddev == "pixel":
            loc, unconstrained = tf.split(parameters, 2, axis=-1)
            stddev = _positive(unconstrained, floor=SMALLEST_STDDEV)
        elif stddev == "shared":
            unconstrained = tf.cast(self.unconstrained_stddev, parameters.dtype)
            stddev = _positive(unconstrained, floor=SMALLEST_STDDEV)
        return tfd.Independent(tfd.Normal(loc, stddev), 3)

    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood.parameters_of_mean`."""
        return np.concatenate([mean, *[np.zeros_like(mean)] * (self.num_parameters - 1)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal likelihood."""
        return {**super().get_config(), "stddev": self.stddev}


@keras.saving.register_keras_serializable(package="tfvae")
class DiscretizedLogistic(Likelihood):
    """A logistic distribution, or a mixture of them, rounded to evenly spaced levels.

    The first and the last level carry the tails. The parameters are the locations and the
    unconstrained scales of the components, after the logits of their weights where there are
    several. A scale is at least a fiftieth of a level, where all is on one level to 10 digits.

    Args:
        levels: How many there are: 256 in 8-bit images.
        num_components: How many logistics are mixed for each value.

    Raises:
        InputError: If a number is not possible.

    References:
        Kingma et al. Improved Variational Inference with Inverse Autoregressive Flow. 2016.
        arXiv:1606.04934.
        Salimans et al. PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture
        Likelihood and Other Modifications. 2017. arXiv:1701.05517.
    """

    levels: int

    def __init__(self, levels: int = 256, num_components: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = check_integer("levels", levels, minimum=2, maximum=2**16)
        self.num_components = check_integer("num_components", num_components, minimum=1)
        self.num_parameters = 2 if self.num_components == 1 else 3 * self.num_components

    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """See `Likelihood.distribution`."""
        if self.num_components == 1:
            return tfd.Independent(self._logistic(*tf.split(parameters, 2, axis=-1)), 3)
        last = _parameters_last(parameters, self.num_parameters)
        logits, locs, scales = tf.split(last, 3, axis=-1)
        # The components start side by side.
        offsets = (np.arange(self.num_components) + 0.5) / self.num_components - 0.5
        components = self._logistic(locs + tf.constant(offsets, locs.dtype), scales)
        mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components)
        return tfd.Independent(mixture, 3)

    def _logistic(self, loc, unconstrained_scale):
        scale = _positive(unconstrained_scale, floor=0.02 / (self.levels - 1))
        return discretized_logistic.DiscretizedLogistic(loc + 0.5, scale, levels=self.levels)

    def sample(self, distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
        """See `Likelihood.sample`."""
        if self.num_components == 1:
            return super().sample(distribution, noise)
        # Where the noise lies among the cumulative weights chooses a component, and where it lies
        # within the weight is uniform again.
        mixture, noise = distribution.distribution, noise[..., tf.newaxis]
        weights = mixture.mixture_distribution.probs_parameter()
        starts = tf.cumsum(weights, axis=-1, exclusive=True)
        chosen = tf.reduce_sum(tf.cast(starts <= noise, tf.int32), axis=-1) - 1
        within = tf.clip_by_value((noise - starts) / weights, 1e-7, 1 - 1e-7)
        values = mixture.components_distribution.quantile(within)
        return tf.gather(values, chosen, batch_dims=chosen.shape.rank)

    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood.parameters_of_mean`."""
        locs, others = [mean - 0.5] * self.num_components, [np.zeros_like(mean)]
        logits = others * (self.num_parameters - 2 * self.num_components)
        return np.concatenate([*logits, *locs, *others * self.num_components], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal likelihood."""
        config = {"levels": self.levels, "num_components": self.num_components}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="tfvae")
class Categorical(Likelihood):
    """A probability for each level; the parameters are the logits. For few levels.

    Args:
        levels: How many there are.

    Raises:
        InputError: If there are fewer than 2.
    """

    levels: int

    def __init__(self, levels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = self.num_parameters = check_integer("levels", levels, minimum=2, maximum=256)

    def distribution(self, parameters: tf.Tensor) -> tfd.Distribution:
        """See `Likelihood.distribution`."""
        logits = _parameters_last(parameters, self.levels)
        values = tf.range(self.levels, dtype=parameters.dtype) / (self.levels - 1)
        # Of images in float32, seven digits of a level are left.
        return tfd.Independent(tfd.FiniteDiscrete(values, logits=logits, atol=1e-5), 3)

    def sample(self, distribution: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
        """See `Likelihood.sample`."""
        pixels = distribution.distribution
        cumulative = tf.cumsum(pixels.probs_parameter(), axis=-1)[..., :-1]
        chosen = tf.reduce_sum(tf.cast(cumulative <= noise[..., tf.newaxis], tf.int32), axis=-1)
        return tf.gather(pixels.outcomes, chosen)

    def parameters_of_mean(self, mean: np.ndarray) -> np.ndarray:
        """See `Likelihood.parameters_of_mean`."""
        # Those of a binomial distribution, whose mean it is.
        last = self.levels - 1
        coefficients = [math.log(math.comb(last, level)) for level in range(self.levels)]
        log_odds = np.log(mean) - np.log1p(-mean)
        parts = [value + level * log_odds for level, value in enumerate(coefficients)]
        return np.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal likelihood."""
        return {**super().get_config(), "levels": self.levels}


_BY_NAME: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "normal": Normal,
    "discretized_logistic": DiscretizedLogistic,
    "categorical": Categorical,
}


def get(identifier: str | Likelihood) -> Likelihood:
    """The likelihood of a name, or the likelihood itself.

    Args:
        identifier: `"bernoulli"`, `"continuous_bernoulli"`, `"normal"`, `"discretized_logistic"`,
            or a `Likelihood`, such as `Categorical(levels=17)`.

    Raises:
        InputError: If there is no likelihood of that name, or it needs arguments.
    """
    return families.get("likelihood", identifier, family=Likelihood, by_name=_BY_NAME)


def _positive(unconstrained, floor):
    """Softplus, shifted such that 0 gives the initial scale, above a floor."""
    shift = math.log(math.expm1(_INITIAL_SCALE - floor))
    return floor + tf.math.softplus(unconstrained + shift)


def _parameters_last(parameters, count):
    """Parameters `[..., count * channels]` as `[..., channels, count]`."""
    shape = tf.concat([tf.shape(parameters)[:-1], [count, parameters.shape[-1] // count]], axis=0)
    return tf.linalg.matrix_transpose(tf.reshape(parameters, shape))
