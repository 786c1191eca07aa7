"""A training run and its folder: settings, recipes, the job, resuming, strategies, publishing.

The names stand in `__init__.pyi` and are imported when they are first used, so that reading
settings needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
