"""A training run and its folder: settings, recipes, the job, resuming, strategies, publishing.

The names are imported when they are first used, so that reading settings needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["pretrained", "publishing", "recipes", "settings", "strategies"],
    submod_attrs={
        "job": ["train"],
        "model_card": ["write_model_card"],
        "pretrained": ["load_pretrained"],
        "settings": ["TrainingSettings"],
    },
)
