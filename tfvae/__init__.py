"""The variational autoencoder for Keras and TensorFlow.

The names are imported when they are used, so that what needs no TensorFlow starts without it.
"""

import importlib

from tfvae.version import __version__

_MODULES = {
    "VAE": "tfvae.vae",
    "export_saved_model": "tfvae.serving.export",
}
_SUBPACKAGES = ("networks", "objectives", "serving")

__all__ = ["VAE", "__version__", "export_saved_model", "networks", "objectives", "serving"]


def __getattr__(name):
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"tfvae.{name}")
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
