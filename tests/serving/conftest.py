import numpy as np
import pytest
from model_server import serve

import tfvae
from tfvae.networks import mlp_decoder, mlp_encoder

LATENT_DIM = 5


@pytest.fixture(scope="session")
def make_vae():
    """A small model with weights that make every output depend on every input."""

    def make(image_shape=(28, 28, 1), latent_dim=LATENT_DIM, seed=0, dtype=None, hidden=(32,)):
        vae = tfvae.VAE(
            encoder=mlp_encoder(image_shape, latent_dim, hidden=hidden, dtype=dtype),
            decoder=mlp_decoder(image_shape, latent_dim, hidden=hidden, dtype=dtype),
        )
        generator = np.random.default_rng(seed)
        for network in (vae.encoder, vae.decoder):
            network.set_weights(
                [
                    generator.normal(0.0, 1.0 / np.sqrt(len(weight)), weight.shape)
                    for weight in network.get_weights()
                ]
            )
        return vae

    return make


@pytest.fixture(scope="session")
def make_images():
    def make(count, image_shape=(28, 28, 1), seed=0):
        return np.random.default_rng(seed).integers(0, 2, (count, *image_shape)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def vae(make_vae):
    return make_vae()


@pytest.fixture(scope="session")
def model_folder(vae, tmp_path_factory):
    """`<model>/1`, exported from `vae`."""
    folder = tmp_path_factory.mktemp("saved_models") / "digits"
    tfvae.export_saved_model(vae, folder, num_importance_samples=20, warmup_batch_sizes=(1, 3))
    return folder


@pytest.fixture(scope="session")
def version(model_folder):
    return model_folder / "1"


@pytest.fixture(scope="session")
def int8_version(vae, tmp_path_factory):
    """`vae` again, for images of int8."""
    folder = tmp_path_factory.mktemp("int8") / "m"
    return tfvae.export_saved_model(vae, folder, image_dtype="int8", num_importance_samples=4)


@pytest.fixture(scope="session")
def color_vae(make_vae):
    """A model of float64, and of an odd number of pixels, two of which share a random word."""
    return make_vae(image_shape=(5, 3, 3), latent_dim=3, dtype="float64")


@pytest.fixture(scope="session")
def color_version(color_vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("color") / "m"
    return tfvae.export_saved_model(color_vae, folder, num_importance_samples=4)


@pytest.fixture(scope="session")
def service(version):
    """A server of `version`, under the name of digits."""
    with serve("digits", version) as service:
        yield service
