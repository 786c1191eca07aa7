"""Pictures of a model and of its training.

The functions return a `matplotlib.figure.Figure`, which `save_figure` writes to a file. The names
are imported when they are first used, so that a grid of images needs no TensorFlow.

Example:
    >>> figure = tfvae.figures.samples(vae, count=64, seed=0)
    >>> tfvae.figures.save_figure(figure, "samples.png")
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from tfvae.figures.curves import likelihood_bounds as likelihood_bounds
    from tfvae.figures.curves import training_curves as training_curves
    from tfvae.figures.drawing import image_grid as image_grid
    from tfvae.figures.drawing import save_figure as save_figure
    from tfvae.figures.model_figures import kl_per_dimension as kl_per_dimension
    from tfvae.figures.model_figures import latent_plane as latent_plane
    from tfvae.figures.model_figures import latent_traversals as latent_traversals
    from tfvae.figures.model_figures import reconstructions as reconstructions
    from tfvae.figures.model_figures import samples as samples
    from tfvae.figures.tensorboard import ImageSummaries as ImageSummaries
    from tfvae.figures.tensorboard import LatentSummaries as LatentSummaries
    from tfvae.figures.tensorboard import tensorboard_callbacks as tensorboard_callbacks

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "curves": ["likelihood_bounds", "training_curves"],
        "drawing": ["image_grid", "save_figure"],
        "model_figures": [
            "kl_per_dimension",
            "latent_plane",
            "latent_traversals",
            "reconstructions",
            "samples",
        ],
        "tensorboard": ["ImageSummaries", "LatentSummaries", "tensorboard_callbacks"],
    },
)
