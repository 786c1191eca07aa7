"""Leaving Python: SavedModels for TensorFlow Serving, a client for it, and other formats.

The names stand in `__init__.pyi` and are imported when they are first used, so that the
client needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
