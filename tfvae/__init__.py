"""The variational autoencoder for Keras and TensorFlow."""

from tfvae import networks, objectives
from tfvae.gradients import gradient_variance
from tfvae.vae import VAE
from tfvae.version import __version__

__all__ = ["VAE", "__version__", "gradient_variance", "networks", "objectives"]
