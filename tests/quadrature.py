"""Models so small that quadrature over their latents gives every quantity to many digits."""

import functools
import itertools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

import tfvae
from tfvae import networks

IMAGE_SHAPE = (3, 3, 1)


def tiny_vae(latent_dim, image_shape=IMAGE_SHAPE, seed=0):
    """A float64 model whose weights are random, so that its posterior is neither prior nor q."""
    keras.utils.set_random_seed(seed)
    sizes = {"hidden": (8,), "activation": "tanh", "dtype": "float64"}
    vae = tfvae.VAE(
        encoder=networks.mlp_encoder(image_shape, latent_dim, **sizes),
        decoder=networks.mlp_decoder(image_shape, latent_dim, **sizes),
        dtype="float64",
    )
    generator = np.random.default_rng(seed)
    for network, gain in ((vae.encoder, 0.5), (vae.decoder, 1.5)):
        network.set_weights(
            [
                generator.normal(size=weights.shape, scale=gain / np.sqrt(weights.shape[0]))
                for weights in network.get_weights()
            ]
        )
    return vae


def fitted_vae(latent_dim):
    """The same with an encoder fitted to the decoder, and then made wider.

    A q that maximizes the ELBO is too narrow in places, where rare samples get huge weights: no
    standard error holds for these.
    """
    vae = tiny_vae(latent_dim)
    vae.decoder.trainable = False
    vae.compile(optimizer=keras.optimizers.Adam(0.02))
    vae.fit(vae.sample(2048, seed=0), batch_size=128, epochs=8, verbose=0)
    vae.encoder.layers[-1].bias.assign_add([0.0] * latent_dim + [0.8] * latent_dim)
    return vae


def all_images():
    """The 512 binary images of 3x3 pixels."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=9))).reshape(-1, *IMAGE_SHAPE)


class Quadrature:
    """A model's joint distribution on a grid of latents, by the trapezoidal rule.

    For smooth densities that vanish at the ends the rule converges exponentially: halving the
    number of points changes log p(x) by less than 1e-9 here (which a test looks at).
    """

    def __init__(self, vae, images, points=None, reach=9.0):
        points = points or (801 if vae.latent_dim == 1 else 121)
        axis = np.linspace(-reach, reach, points)
        mesh = np.meshgrid(*[axis] * vae.latent_dim, indexing="ij")
        self.latents = np.stack([x.ravel() for x in mesh], axis=-1)
        self.log_volume = vae.latent_dim * np.log(axis[1] - axis[0])
        self.log_prior = -0.5 * np.sum(self.latents**2 + np.log(2 * np.pi), axis=-1)
        logits = np.asarray(vae.decoder(tf.constant(self.latents))).reshape(len(self.latents), -1)
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        # log p(x|z) by the definition, for each image and latent.
        self.log_conditional = -(
            flat @ np.logaddexp(0, -logits).T + (1 - flat) @ np.logaddexp(0, logits).T
        )
        self.log_joint = self.log_conditional + self.log_prior
        self.log_likelihood = logsumexp(self.log_joint, axis=1) + self.log_volume
        self.log_posterior = self.log_joint - self.log_likelihood[:, np.newaxis]
        posterior = vae.encode(tf.constant(images, tf.float64))
        mean, stddev = np.asarray(posterior.mean()), np.asarray(posterior.stddev())
        standardized = (self.latents - mean[:, np.newaxis]) / stddev[:, np.newaxis]
        self.log_approximate = np.sum(
            -0.5 * (standardized**2 + np.log(2 * np.pi)) - np.log(stddev[:, np.newaxis]), axis=-1
        )

    def expectation(self, log_density, values):
        """The integral of `values` under a density on the grid, one per image."""
        return np.sum(np.exp(log_density + self.log_volume) * values, axis=-1)

    @property
    def kl_to_prior(self):
        return self.expectation(self.log_approximate, self.log_approximate - self.log_prior)

    @property
    def kl_to_posterior(self):
        return self.expectation(self.log_approximate, self.log_approximate - self.log_posterior)

    @property
    def reconstruction(self):
        return self.expectation(self.log_approximate, self.log_conditional)

    @property
    def elbo(self):
        """The ELBO by its definition (1)."""
        return self.log_likelihood - self.kl_to_posterior


class Example(NamedTuple):
    """A model, images that it has drawn, and the exact quantities of these."""

    vae: tfvae.VAE
    images: np.ndarray
    exact: Quadrature


# Tests share these, since a new model means that every function is compiled anew. A test that
# changes a model makes its own.


@functools.cache
def tiny_example(latent_dim):
    return _example(tiny_vae(latent_dim), count=4)


@functools.cache
def fitted_example(latent_dim):
    return _example(fitted_vae(latent_dim), count=6)


@functools.cache
def quadrature_of_all_images(latent_dim):
    """The exact quantities of all 512 images under the model of `fitted_example`."""
    points = 61 if latent_dim == 2 else None
    return Quadrature(fitted_example(latent_dim).vae, all_images(), points)


def _example(vae, count):
    images = vae.sample(count, seed=1).numpy()
    return Example(vae, images, Quadrature(vae, images))
