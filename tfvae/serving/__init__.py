"""Leaving Python: SavedModels for TensorFlow Serving, a client for it, and other formats.

The names are imported when they are first used, so that the client needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "client": ["Client", "ServerError"],
        "configuration": ["write_server_configuration"],
        "export": ["export_saved_model"],
        "other_formats": ["export_litert", "export_onnx"],
        "requests": ["read_array", "request", "write_answer"],
        "versions": ["prune_versions"],
    },
)
