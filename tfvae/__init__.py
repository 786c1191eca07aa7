"""The variational autoencoder for Keras and TensorFlow."""

from tfvae import networks, objectives
from tfvae.datasets import load_dataset
from tfvae.vae import VAE
from tfvae.version import __version__

__all__ = ["VAE", "__version__", "load_dataset", "networks", "objectives"]
