"""Leaving Python: SavedModels for TensorFlow Serving, a client for it, and other formats.

The names are imported when they are first used, so that the client needs no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from tfvae.serving.client import Client as Client
    from tfvae.serving.client import ServerError as ServerError
    from tfvae.serving.configuration import write_server_configuration as write_server_configuration
    from tfvae.serving.export import export_saved_model as export_saved_model
    from tfvae.serving.other_formats import export_litert as export_litert
    from tfvae.serving.other_formats import export_onnx as export_onnx
    from tfvae.serving.requests import read_array as read_array
    from tfvae.serving.requests import write_answer as write_answer
    from tfvae.serving.versions import prune_versions as prune_versions

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "client": ["Client", "ServerError"],
        "configuration": ["write_server_configuration"],
        "export": ["export_saved_model"],
        "other_formats": ["export_litert", "export_onnx"],
        "requests": ["read_array", "write_answer"],
        "versions": ["prune_versions"],
    },
)
