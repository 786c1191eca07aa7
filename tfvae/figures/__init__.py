"""Pictures of a model and of its training.

The functions return a `matplotlib.figure.Figure`, which `save_figure` writes to a file. The names
are imported when they are first used, so that a grid of images needs no TensorFlow.

Example:
    >>> figure = tfvae.figures.samples(vae, count=64, seed=0)
    >>> tfvae.figures.save_figure(figure, "samples.png")
"""

import lazy_loader

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
