"""Tells Keras how to load a saved VAE, as soon as Keras is imported, without importing TensorFlow.

`import tfvae` imports the class itself only when it is used, so Keras would not find it in a file.
"""

import importlib
from types import ModuleType
from typing import Any

import wrapt


class _SavedVAE:
    """Stands for `tfvae.VAE` among Keras's classes until `tfvae.vae` is imported."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return importlib.import_module("tfvae.vae").VAE.from_config(config)


@wrapt.when_imported("keras.saving")
def _register(saving: ModuleType) -> None:
    # A dictionary that Keras documents; the class takes this place when it is imported.
    saving.get_custom_objects().setdefault("tfvae>VAE", _SavedVAE)
