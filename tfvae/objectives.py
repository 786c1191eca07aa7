"""What is maximised: small serialisable classes over distributions and tensors."""

import abc
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.errors import InputError

tfd = tfp.distributions


class Terms(NamedTuple):
    """What an objective makes of a batch of images; each `[batch]`, in nats per image.

    Attributes:
        objective: What is maximised.
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
    """Something to maximise, for `vae.compile(objective=...)`.

    A subclass implements `__call__` and `get_config`, and is registered with
    `keras.saving.register_keras_serializable`, so that `.keras` files restore it.
    """

    @abc.abstractmethod
    def __call__(
        self,
        images: tf.Tensor,
        *,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        decode: Callable[[tf.Tensor], tfd.Distribution],
        seed: tf.Tensor,
    ) -> Terms:
        """Evaluates the objective on a batch.

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            posterior: q(Z|x), of batch shape `[batch]` and event shape `[latent_dim]`.
            prior: p(Z), of batch shape `[]` and event shape `[latent_dim]`.
            decode: Latents `[batch, latent_dim]` to the likelihood p(X|z), of batch shape
                `[batch]` and event shape `[height, width, channels]`.
            seed: int32 `[2]`, of the noise.

        Returns:
            The terms, each `[batch]`, in nats per image.
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal objective."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        """The objective of a config."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfvae")
class ELBO(Objective):
    """The evidence lower bound, E_q[log p(x|z)] - beta KL(q(Z|x) || p(Z)).

    The expectation is estimated from reparametrised samples, z = mean + stddev * noise. The KL is
    closed-form, or estimated from the same samples: with beta = 1 this is the Monte Carlo form
    E_q[log p(x|z) p(z) / q(z|x)].

    Args:
        beta: The weight of the KL, at least 0. It may be set while training goes on and takes
            effect from the next step.
        num_samples: How many latents are drawn per image.
        analytic_kl: Whether the KL is closed-form.

    Raises:
        InputError: If `beta` is negative or not finite, or `num_samples` is not positive.

    References:
        Kingma and Welling. Auto-Encoding Variational Bayes. 2013. arXiv:1312.6114.
        Higgins et al. beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
        Framework. ICLR 2017.
    """

    def __init__(self, beta: float = 1.0, num_samples: int = 1, analytic_kl: bool = True):
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise InputError(f"num_samples must be an integer of at least 1; got {num_samples!r}")
        # A variable, so that the compiled training step reads what was set last.
        self._beta = tf.Variable(_checked_beta(beta), trainable=False, dtype=tf.float32)
        self.num_samples = num_samples
        self.analytic_kl = analytic_kl

    @property
    def beta(self) -> float:
        """The weight of the KL."""
        return float(self._beta.numpy())

    @beta.setter
    def beta(self, beta: float) -> None:
        self._beta.assign(_checked_beta(beta))

    def __call__(self, images, *, posterior, prior, decode, seed):
        """See `Objective.__call__`."""
        latents = posterior.sample(self.num_samples, seed=seed)
        reconstruction = tf.reduce_mean(
            log_likelihood_of_latents(images, latents, decode=decode), axis=0
        )
        if self.analytic_kl:
            kl = tfd.kl_divergence(posterior, prior)
        else:
            kl = tf.reduce_mean(posterior.log_prob(latents) - prior.log_prob(latents), axis=0)
        beta = tf.cast(self._beta, kl.dtype)
        return Terms(reconstruction - beta * kl, reconstruction=reconstruction, kl=kl)

    def get_config(self):
        """The arguments that make an equal objective, `beta` as it stands now."""
        return {
            "beta": self.beta,
            "num_samples": self.num_samples,
            "analytic_kl": self.analytic_kl,
        }


def log_likelihood_of_latents(
    images: tf.Tensor,
    latents: tf.Tensor,
    *,
    decode: Callable[[tf.Tensor], tfd.Distribution],
) -> tf.Tensor:
    """The log-likelihood log p(x|z) of several latents per image, decoded in one batch.

    Args:
        images: `[batch, height, width, channels]`.
        latents: `[num_samples, batch, latent_dim]`.
        decode: Latents `[n, latent_dim]` to the likelihood p(X|z).

    Returns:
        `[num_samples, batch]`, in nats per image.
    """
    num_samples = tf.shape(latents)[0]
    likelihood = decode(tf.reshape(latents, [-1, latents.shape[-1]]))
    if latents.shape[0] != 1:
        images = tf.tile(images, [num_samples, 1, 1, 1])
    return tf.reshape(likelihood.log_prob(images), tf.shape(latents)[:2])


_BY_NAME: dict[str, type[Objective]] = {"elbo": ELBO}


def get(identifier: str | Objective) -> Objective:
    """The objective of a name, or the objective itself.

    Args:
        identifier: `"elbo"`, or an `Objective`.

    Returns:
        The objective.

    Raises:
        InputError: If there is no objective of that name.
    """
    if isinstance(identifier, Objective):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    raise InputError(
        f"objective must be one of {', '.join(map(repr, _BY_NAME))}, or a "
        f"tfvae.objectives.Objective instance; got {identifier!r}"
    )


def _checked_beta(beta):
    if not math.isfinite(beta) or beta < 0:
        raise InputError(f"beta must be a finite number of at least 0; got {beta!r}")
    return float(beta)
