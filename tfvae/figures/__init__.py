"""Pictures of a model and of its training.

The functions return a `matplotlib.figure.Figure`, which `save_figure` writes to a file. The names
stand in `__init__.pyi` and are imported when they are first used, so that a grid of images needs no
TensorFlow.

Example:
    >>> figure = tfvae.figures.samples(vae, count=64, seed=0)
    >>> tfvae.figures.save_figure(figure, "samples.png")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
