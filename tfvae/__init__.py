"""The variational autoencoder for Keras and TensorFlow."""

from tfvae import networks, objectives
from tfvae.vae import VAE
from tfvae.version import __version__

__all__ = ["VAE", "__version__", "networks", "objectives"]
