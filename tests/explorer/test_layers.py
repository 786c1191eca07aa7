"""What the page runs of Keras, and what it says it cannot run."""

import math

import keras
import numpy as np
import pytest
from small_models import binary_images

import tfvae
from tfvae import explorer
from tfvae.explorer import packing

IMAGE_SHAPE = (9, 7, 2)
LATENT_DIM = 3


def vae_of(encoder_layers, decoder_layers):
    """A model of two lists of layers, in front of what fits them to the images and the latents."""
    encoder = [keras.Input(IMAGE_SHAPE), *encoder_layers, keras.layers.Flatten()]
    encoder.append(keras.layers.Dense(2 * LATENT_DIM))
    decoder = [keras.Input((LATENT_DIM,)), *decoder_layers, keras.layers.Flatten()]
    decoder += [keras.layers.Dense(math.prod(IMAGE_SHAPE)), keras.layers.Reshape(IMAGE_SHAPE)]
    return tfvae.VAE(encoder=keras.Sequential(encoder), decoder=keras.Sequential(decoder))


def assert_same_in_page(vae, open_page, folder):
    images = binary_images(3, IMAGE_SHAPE)
    explorer.write_page(vae, folder / "page.html", images)
    page = open_page(folder / "page.html")
    latents = np.random.default_rng(0).normal(0, 9, (2, LATENT_DIM)).astype(np.float32)
    means, decoded = page.execute_script(
        "const [images, latents] = arguments;"
        "return [images.map(image => [...tfvae.encode(image).mean]), [...tfvae.decode(latents)]];",
        images.reshape(3, -1).tolist(),
        latents.tolist(),
    )
    np.testing.assert_allclose(means, vae.encode(images).mean(), atol=1e-3)
    np.testing.assert_allclose(decoded, np.ravel(vae.decode(latents).mean()), atol=1e-3)
    assert np.ptp(decoded) > 0.1


def test_convolutions_of_every_geometry(open_page, tmp_path):
    layers = keras.layers
    encoder = [
        layers.Conv2D(3, (3, 2), strides=(2, 1), padding="valid"),
        layers.Conv2D(4, (2, 5), strides=(1, 3), padding="same", use_bias=False),
        layers.Conv2D(2, 1, strides=2, padding="same"),
    ]
    decoder = [
        layers.Dense(12, use_bias=False),
        layers.Reshape((2, -1, 3)),
        layers.Conv2DTranspose(3, (3, 2), strides=(2, 3), padding="valid", use_bias=False),
        layers.Conv2DTranspose(2, (2, 5), strides=(3, 2), padding="same"),
        layers.Conv2DTranspose(2, 1, strides=2, padding="valid"),
        layers.Cropping2D(((1, 2), (3, 4))),
        layers.BatchNormalization(scale=False),
    ]
    assert_same_in_page(vae_of(encoder, decoder), open_page, tmp_path)


def test_every_activation_and_networks_in_networks(open_page, tmp_path):
    functional = keras.Input((4,))
    doubled = keras.layers.Add()([functional, functional])
    inner = keras.Model(functional, keras.layers.Dense(6, activation="tanh")(doubled))
    encoder = [keras.layers.Flatten()]
    encoder += [keras.layers.Dense(8, activation=name) for name in packing.ACTIVATIONS]
    decoder = [keras.layers.Dense(4), keras.layers.Dropout(0.5), inner]
    decoder += [keras.Sequential([keras.layers.Dense(5), keras.layers.Activation("silu")])]
    assert_same_in_page(vae_of(encoder, decoder), open_page, tmp_path)


class Scaled(keras.layers.Layer):
    """A layer of a user's own."""

    def call(self, inputs):
        return 2 * inputs


class Dense(keras.layers.Dense):
    """Another layer of a user's own, by the name of Keras's."""


def test_layers_that_the_page_cannot_run_are_named():
    layers = keras.layers
    shared = layers.Dense(4)
    latents = keras.Input((4,))
    for layer, reason in (
        (Scaled(name="mine"), "the layer mine is a Scaled"),
        (Dense(4, name="mine"), "the layer mine is a Dense"),
        (layers.LayerNormalization(name="norm"), "the layer norm is a LayerNormalization"),
        (layers.Dense(4, name="a", activation="mish"), "the layer a has activation='mish'"),
        (layers.Conv2D(4, 2, name="c", dilation_rate=2), r"the layer c has dilation_rate=\(2, 2\)"),
        (layers.BatchNormalization(name="b", axis=1), "the layer b has axis=1"),
        (keras.Model(latents, shared(shared(latents))), "is used 2 times"),
    ):
        shape = (8, 8, 2) if isinstance(layer, layers.Conv2D) else (4,)
        network = keras.Sequential([keras.Input(shape), layer])
        with pytest.raises(packing.UnknownLayerError, match=reason):
            packing.pack_network(network, packing.Arrays())
