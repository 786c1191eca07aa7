"""The variational autoencoder for Keras and TensorFlow.

The names are imported when they are first used, so that what needs no TensorFlow starts without it.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "datasets",
        "distributions",
        "figures",
        "fitting",
        "inference",
        "networks",
        "objectives",
        "serving",
        "training",
        "tuning",
    ],
    submod_attrs={
        "datasets": ["load_dataset"],
        "fitting": ["callbacks"],
        "inference": ["log_likelihood"],
        "serving": ["export_saved_model"],
        "training": ["load_pretrained"],
        "vae": ["VAE"],
    },
)
