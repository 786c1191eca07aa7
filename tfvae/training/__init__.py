"""A training run and its folder: settings, recipes, the job, resuming, strategies, publishing.

The names are imported when they are first used, so that reading settings needs no TensorFlow.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from tfvae.training import pretrained as pretrained
    from tfvae.training import publishing as publishing
    from tfvae.training import recipes as recipes
    from tfvae.training import settings as settings
    from tfvae.training import strategies as strategies
    from tfvae.training.job import train as train
    from tfvae.training.pretrained import load_model as load_model
    from tfvae.training.pretrained import load_pretrained as load_pretrained
    from tfvae.training.settings import TrainingSettings as TrainingSettings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["pretrained", "publishing", "recipes", "settings", "strategies"],
    submod_attrs={
        "job": ["train"],
        "pretrained": ["load_model", "load_pretrained"],
        "settings": ["TrainingSettings"],
    },
)
