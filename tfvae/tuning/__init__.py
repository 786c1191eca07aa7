"""How large should z be? A KerasTuner search over the latent size, and over what else is open.

The names are imported when they are first used, so that the command's help needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hypermodel": ["VAEHyperModel"],
        "results": ["SearchResult"],
        "search": ["continue_search", "load_chosen", "search", "search_dataset"],
        "search_settings": ["SearchSettings", "SearchSpace"],
    },
)
