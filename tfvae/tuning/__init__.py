"""How large should z be? A KerasTuner search over the latent size, and over what else is open.

The names are imported when they are first used, so that the command's help needs no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from tfvae.tuning.hypermodel import VAEHyperModel as VAEHyperModel
    from tfvae.tuning.results import SearchResult as SearchResult
    from tfvae.tuning.search_settings import SearchSettings as SearchSettings
    from tfvae.tuning.search_settings import SearchSpace as SearchSpace
    from tfvae.tuning.searches import load_chosen as load_chosen
    from tfvae.tuning.searches import search as search
    from tfvae.tuning.searches import search_dataset as search_dataset

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hypermodel": ["VAEHyperModel"],
        "results": ["SearchResult"],
        "search_settings": ["SearchSettings", "SearchSpace"],
        "searches": ["load_chosen", "search", "search_dataset"],
    },
)
