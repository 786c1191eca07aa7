"""The variational autoencoder for Keras and TensorFlow.

The names are imported when they are first used, so that what needs no TensorFlow starts without it.
"""

from typing import TYPE_CHECKING

import lazy_loader

from tfvae.common import library_messages as library_messages
from tfvae.common import registration as registration

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfvae import datasets as datasets
    from tfvae import distributions as distributions
    from tfvae import explorer as explorer
    from tfvae import figures as figures
    from tfvae import fitting as fitting
    from tfvae import inference as inference
    from tfvae import networks as networks
    from tfvae import objectives as objectives
    from tfvae import serving as serving
    from tfvae import training as training
    from tfvae import tuning as tuning
    from tfvae.datasets import load_dataset as load_dataset
    from tfvae.distributions import likelihoods as likelihoods
    from tfvae.fitting import callbacks as callbacks
    from tfvae.inference import log_likelihood as log_likelihood
    from tfvae.serving import export_saved_model as export_saved_model
    from tfvae.training import load_model as load_model
    from tfvae.training import load_pretrained as load_pretrained
    from tfvae.vae import VAE as VAE

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "datasets",
        "distributions",
        "explorer",
        "figures",
        "fitting",
        "inference",
        "networks",
        "objectives",
        "serving",
        "training",
        "tuning",
    ],
    submod_attrs={
        "datasets": ["load_dataset"],
        "distributions": ["likelihoods"],
        "fitting": ["callbacks"],
        "inference": ["log_likelihood"],
        "serving": ["export_saved_model"],
        "training": ["load_model", "load_pretrained"],
        "vae": ["VAE"],
    },
)
