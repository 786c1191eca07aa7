"""The variational autoencoder for Keras and TensorFlow."""

from tfvae import diagnostics, likelihood, networks, objectives, posterior
from tfvae.likelihood import log_likelihood
from tfvae.vae import VAE
from tfvae.version import __version__

__all__ = [
    "VAE",
    "__version__",
    "diagnostics",
    "likelihood",
    "log_likelihood",
    "networks",
    "objectives",
    "posterior",
]
