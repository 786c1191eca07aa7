"""The variational autoencoder for Keras and TensorFlow."""

from tfvae import likelihood, networks, objectives
from tfvae.likelihood import log_likelihood
from tfvae.vae import VAE
from tfvae.version import __version__

__all__ = ["VAE", "__version__", "likelihood", "log_likelihood", "networks", "objectives"]
