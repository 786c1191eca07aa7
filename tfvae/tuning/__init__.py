"""How large should z be? A KerasTuner search over the latent size, and over what else is open.

The names stand in `__init__.pyi` and are imported when they are first used, so that the
command's help needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
