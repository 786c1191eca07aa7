"""The variational autoencoder for Keras and TensorFlow.

The names are imported when they are used, so that what needs no TensorFlow starts without it.
"""

import importlib

from tfvae.version import __version__

_HOMES = {
    "VAE": "tfvae.vae",
    "export_saved_model": "tfvae.serving",
    "load_dataset": "tfvae.datasets",
    "load_pretrained": "tfvae.pretrained",
    "log_likelihood": "tfvae.likelihood",
}
_MODULES = (
    "callbacks",
    "datasets",
    "diagnostics",
    "gradients",
    "likelihood",
    "networks",
    "objectives",
    "plots",
    "posterior",
    "pretrained",
    "recipes",
    "serving",
    "strategies",
    "tuning",
)

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"tfvae.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
