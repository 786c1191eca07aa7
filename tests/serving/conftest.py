import numpy as np
import pytest

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
