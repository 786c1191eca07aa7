"""What is maximized: small serializable classes over distributions and tensors.

An argument that is not possible raises `InputError`.
"""

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfvae.common.checks import check_choice, check_integer, check_number
from tfvae.common.errors import InputError
from tfvae.distributions import importance
from tfvae.distributions.backpropagation import (
    with_gradient_of,
    with_gradient_times,
    without_gradient,
)


class Terms(NamedTuple):
    """What an objective makes of a batch of images; each `[batch]`, in nats per image.

    Attributes:
        objective: What is maximized.
        reconstruction: E_q[log p(x|z)], the plain quantity.
        kl: KL(q(Z|x) || p(Z)), the plain quantity, without any weight.
    """

    objective: tf.Tensor
    reconstruction: tf.Tensor
    kl: tf.Tensor

    @property
    def elbo(self) -> tf.Tensor:
        """E_q[log p(x|z)] - KL(q(Z|x) || p(Z)), `[batch]`: the ELBO at beta = 1."""
        return self.reconstruction - self.kl


class Objective(abc.ABC):
    """Something to maximize, for `vae.compile(objective=...)`.

    A subclass implements `__call__` and keeps its arguments in attributes of their names. It is
    registered with `keras.saving.register_keras_serializable`, so that `.keras` files restore it.

    Attributes:
        num_samples: How many latents are drawn per image.
    """

    num_samples: int = 1

    @property
    def num_noise_rows(self) -> int:
        """How many rows of noise `draw_noise` draws."""
        return self.num_samples

    def draw_noise(
        self, batch_size: int | tf.Tensor, latent_dim: int, seed: tf.Tensor, dtype: tf.DType
    ) -> tf.Tensor:
        """The noise of the reparameterization trick, z = mean + stddev * noise.

        It is drawn apart from the objective, because XLA would draw other and slower numbers.

        Args:
            batch_size: The number of images.
            latent_dim: The number of latent dimensions.
            seed: int32 `[2]`.
            dtype: Of the posterior.

        Returns:
            `[num_noise_rows, batch, latent_dim]`, of N(0, I).
        """
        return tf.random.stateless_normal(
            [self.num_noise_rows, batch_size, latent_dim], seed=seed, dtype=dtype
        )

    @abc.abstractmethod
    def __call__(
        self,
        images: tf.Tensor,
        *,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        decode: Callable[[tf.Tensor], tfd.Distribution],
        noise: tf.Tensor,
    ) -> Terms:
        """Evaluates the objective on a batch.

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            posterior: q(Z|x), of batch shape `[batch]` and event shape `[latent_dim]`.
            prior: p(Z), of batch shape `[]` and event shape `[latent_dim]`.
            decode: Latents `[..., latent_dim]` to the likelihood p(X|z), of batch shape `[...]`
                and event shape `[height, width, channels]`.
            noise: `[num_noise_rows, batch, latent_dim]`, as `draw_noise` gives it.

        Returns:
            The terms, each `[batch]`, in nats per image.
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal objective, as they stand now."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        """The objective of a config."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfvae")
class ELBO(Objective):
    """The evidence lower bound, E_q[log p(x|z)] - beta KL(q(Z|x) || p(Z)).

    The KL is closed-form, or estimated from the same samples as the expectation: with beta = 1
    this is the Monte Carlo form E_q[log p(x|z) p(z) / q(z|x)].

    Args:
        beta: The weight of the KL, at least 0. It may be set while training goes on and takes
            effect from the next step.
        num_samples: How many latents are drawn per image.
        analytic_kl: Whether the KL is closed-form.
        free_bits: The nats that each latent dimension has free: where its KL, averaged over the
            batch, is below, that number stands for it, and its gradient is zero. (The paper's
            lambda, with each dimension a group of its own.)
        gradient_estimator: How the expectation's gradient with respect to q is estimated.
            `"reparameterized"`: through the samples z = mean + stddev * noise.
            `"score_function"`: from the gradient of log q(z|x), which asks nothing of the decoder
            and is so noisy that it is here to be compared, not to be trained with.

    References:
        Kingma and Welling. Auto-Encoding Variational Bayes. 2013. arXiv:1312.6114.
        Higgins et al. beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
        Framework. ICLR 2017.
        Kingma et al. Improved Variational Inference with Inverse Autoregressive Flow. 2016.
        arXiv:1606.04934 (free bits).
        Williams. Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning. Machine Learning 8, 1992 (the score function).
    """

    def __init__(
        self,
        beta: float = 1.0,
        num_samples: int = 1,
        analytic_kl: bool = True,
        free_bits: float = 0.0,
        gradient_estimator: str = "reparameterized",
    ):
        choices = ("reparameterized", "score_function")
        check_choice("gradient_estimator", gradient_estimator, choices)
        # A variable, so that the compiled training step reads what was set last.
        beta = check_number("beta", beta, minimum=0)
        self._beta = tf.Variable(beta, trainable=False, dtype=tf.float32)
        self.num_samples = check_integer("num_samples", num_samples, minimum=1)
        self.analytic_kl = analytic_kl
        self.free_bits = check_number("free_bits", free_bits, minimum=0)
        self.gradient_estimator = gradient_estimator

    @property
    def beta(self) -> float:
        """The weight of the KL."""
        return float(self._beta.numpy())

    @beta.setter
    def beta(self, beta: float) -> None:
        self._beta.assign(check_number("beta", beta, minimum=0))

    def __call__(self, images, *, posterior, prior, decode, noise):
        """See `Objective.__call__`."""
        latents = _reparameterized(posterior, noise)
        expectation = functools.partial(
            tfp.monte_carlo.expectation,
            samples=latents,
            use_reparameterization=self.gradient_estimator == "reparameterized",
        )
        reconstruction = expectation(
            lambda latents: decode(latents).log_prob(images), log_prob=posterior.log_prob
        )
        # By dimension, for free bits: both distributions are factorial.
        posterior, prior = posterior.distribution, prior.distribution
        if self.analytic_kl:
            kl = tfd.kl_divergence(posterior, prior)
        else:
            kl = expectation(
                lambda latents: posterior.log_prob(latents) - prior.log_prob(latents),
                log_prob=posterior.log_prob,
            )
        penalty = kl
        if self.free_bits:
            is_above = tf.reduce_mean(kl, axis=0) > self.free_bits
            penalty = tf.where(is_above, kl, tf.constant(self.free_bits, kl.dtype))
        kl, penalty = tf.reduce_sum(kl, axis=-1), tf.reduce_sum(penalty, axis=-1)
        beta = tf.cast(self._beta, kl.dtype)
        return Terms(reconstruction - beta * penalty, reconstruction=reconstruction, kl=kl)


@keras.saving.register_keras_serializable(package="tfvae")
class IWAE(Objective):
    """The importance-weighted bound, E_q[log mean_i p(x|z_i) p(z_i) / q(z_i|x)].

    With one sample it is the ELBO; it grows with the number of samples, towards log p(x). It has
    no `beta`: a weighted KL has no importance weights whose mean is p(x).

    Args:
        num_samples: How many latents are drawn per image.
        gradient_estimator: How the encoder's gradient is estimated; the decoder's is the same.
            `"reparameterized"`: through the samples and through log q(z|x). Its signal drowns in
            its noise as the number of samples grows.
            `"doubly_reparameterized"`: through the samples alone, by squared importance weights,
            with equal mean and lower variance. With one sample it is the path derivative
            ("sticking the landing"), whose variance is zero where q(Z|x) is the posterior.
        num_resampled: The gradient passes back through so many of the samples alone, which
            systematic resampling picks by their importance weights; None for all of them. The
            mean of the gradient is the same, if the decoder is a function of each latent alone
            (which rules out dropout and batch normalization), and where few samples have most of
            the weight, nearly its variance, at little more than the cost of the forward pass.

    References:
        Burda et al. Importance Weighted Autoencoders. 2015. arXiv:1509.00519 (which also
        has the case of one sample resampled).
        Tucker et al. Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives. 2018.
        arXiv:1810.04152.
        Roeder et al. Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
        Variational Inference. 2017. arXiv:1703.09194.
        Rainforth et al. Tighter Variational Bounds are Not Necessarily Better. 2018.
        arXiv:1802.04537.
    """

    def __init__(
        self,
        num_samples: int = 5,
        gradient_estimator: str = "reparameterized",
        num_resampled: int | None = None,
    ):
        choices = ("reparameterized", "doubly_reparameterized")
        check_choice("gradient_estimator", gradient_estimator, choices)
        self.num_samples = check_integer("num_samples", num_samples, minimum=1)
        self.gradient_estimator = gradient_estimator
        self.num_resampled = num_resampled
        if num_resampled is not None:
            self.num_resampled = check_integer(
                "num_resampled", num_resampled, minimum=1, maximum=self.num_samples
            )

    @property
    def num_noise_rows(self) -> int:
        """With resampling one row more, which says where it starts."""
        return self.num_samples + (self.num_resampled is not None)

    def __call__(self, images, *, posterior, prior, decode, noise):
        """See `Objective.__call__`."""
        is_doubly = self.gradient_estimator == "doubly_reparameterized"
        density = without_gradient(posterior) if is_doubly else posterior
        # What comes back to the latents has the importance weights as a factor already. Only on
        # the way on to the encoder they get it once more: the decoder keeps the plain gradient.
        weighted = with_gradient_times if is_doubly else lambda latents, _: latents

        def weigh(latents):
            log_likelihood = decode(latents).log_prob(images)
            log_ratio = prior.log_prob(latents) - density.log_prob(latents)
            return log_likelihood, log_likelihood + log_ratio

        noise = tf.ensure_shape(noise, [self.num_noise_rows, None, None])
        latents = _reparameterized(posterior, noise[: self.num_samples])
        if self.num_resampled is None:
            latents = weighted(latents, lambda: tf.nn.softmax(log_weights, axis=0))
            log_likelihood, log_weights = weigh(latents)
            bound = importance.log_mean_weight(log_weights)
        else:
            log_likelihood, log_weights = map(tf.stop_gradient, weigh(tf.stop_gradient(latents)))
            weights = tf.nn.softmax(log_weights, axis=0)
            starts = tfd.Normal(tf.zeros([], noise.dtype), 1.0).cdf(noise[-1, :, 0])
            chosen = importance.systematic_resampling(
                weights, starts=starts, num_resampled=self.num_resampled
            )
            chosen_weights = importance.take(weights, chosen=chosen)
            latents = weighted(importance.take(latents, chosen=chosen), lambda: chosen_weights)
            _, chosen_log_weights = weigh(latents)
            bound = with_gradient_of(
                importance.log_mean_weight(log_weights), tf.reduce_mean(chosen_log_weights, axis=0)
            )
        return Terms(
            bound,
            reconstruction=tf.reduce_mean(log_likelihood, axis=0),
            kl=tfd.kl_divergence(posterior, prior),
        )


@keras.saving.register_keras_serializable(package="tfvae")
class ForwardKL(Objective):
    """The ELBO with the arguments of its KL swapped, log p(x) - KL(p(Z|x) || q(Z|x)).

    The encoder minimizes the KL and the decoder maximizes the importance-weighted bound on
    log p(x), both from the same samples of q, by self-normalized importance weights: reweighted
    wake-sleep without the sleep phase. So q covers the posterior rather than one mode of it, and
    no gradient passes through the samples. Being a ratio estimate, the KL is biased, the less the
    more samples there are; with a single one it is zero and teaches the encoder nothing.

    Args:
        num_samples: How many latents are drawn per image, at least 2.

    References:
        Bornschein and Bengio. Reweighted Wake-Sleep. 2014. arXiv:1406.2751.
        Le et al. Revisiting Reweighted Wake-Sleep for Models with Stochastic Control Flow. 2018.
        arXiv:1805.10469.
    """

    def __init__(self, num_samples: int = 5):
        self.num_samples = check_integer("num_samples", num_samples, minimum=2)

    def __call__(self, images, *, posterior, prior, decode, noise):
        """See `Objective.__call__`."""
        latents = tf.stop_gradient(_reparameterized(posterior, noise))
        log_likelihood = decode(latents).log_prob(images)
        log_joint = log_likelihood + prior.log_prob(latents)
        bound = importance.log_mean_weight(
            log_joint - tf.stop_gradient(posterior.log_prob(latents))
        )

        def divergence(latents):
            # u = p(z|x) / q(z|x), with the bound for the log p(x) that is not known.
            log_ratio = tf.stop_gradient(log_joint - bound) - posterior.log_prob(latents)
            return tfp.vi.kl_forward(log_ratio)

        # The score function's and the ratio's own gradient leave -u times that of log q(z|x).
        forward_kl = tfp.monte_carlo.expectation(
            divergence,
            samples=latents,
            log_prob=posterior.log_prob,
            use_reparameterization=False,
        )
        return Terms(
            bound - forward_kl,
            reconstruction=tf.reduce_mean(log_likelihood, axis=0),
            kl=tfd.kl_divergence(posterior, prior),
        )


_BY_NAME: dict[str, type[Objective]] = {"elbo": ELBO, "iwae": IWAE, "forward_kl": ForwardKL}


def get(identifier: str | Objective) -> Objective:
    """The objective of a name, `"elbo"`, `"iwae"` or `"forward_kl"`, or the objective itself."""
    if isinstance(identifier, Objective):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    raise InputError(
        f"objective must be one of {', '.join(map(repr, _BY_NAME))}, or a "
        f"tfvae.objectives.Objective instance; got {identifier!r}"
    )


def _reparameterized(posterior, noise):
    return posterior.mean() + posterior.stddev() * noise
