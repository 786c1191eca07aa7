"""Leaving Python: SavedModels for TensorFlow Serving, a client for it, and other formats.

The names are imported when they are used, so that the client needs no TensorFlow.
"""

import importlib

_MODULES = {
    "Client": "client",
    "ServerError": "client",
    "export_saved_model": "export",
    "export_litert": "other_formats",
    "export_onnx": "other_formats",
    "prune_versions": "versions",
    "read_array": "requests",
    "request": "requests",
    "write_answer": "requests",
    "write_model_card": "card",
    "write_server_configuration": "configuration",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted(__all__)
