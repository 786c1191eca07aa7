"""How large should z be? A KerasTuner search over the latent size, and over what else is open.

The names are imported when they are used, so that the command's help needs no TensorFlow.
"""

import importlib

_HOMES = {
    "SearchResult": "report",
    "SearchSettings": "settings",
    "SearchSpace": "settings",
    "VAEHyperModel": "hypermodel",
    "continue_search": "searching",
    "load_chosen": "searching",
    "search": "searching",
    "search_dataset": "searching",
}

__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return sorted(__all__)
