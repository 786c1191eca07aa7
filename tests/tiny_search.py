"""A search over tiny models; also a program, for what needs several processes or a kill.

python tests/tiny_search.py FOLDER
"""

import os
import sys
import time
from pathlib import Path

if __name__ == "__main__" and "KERASTUNER_TUNER_ID" in os.environ:
    from tfvae.tuning import processes as workers

    workers.end_with_parent()

import numpy as np

from tfvae import tuning
from tfvae.training.settings import TrainingSettings

LATENT_DIMS = (1, 2, 3, 4)
SETTINGS = tuning.SearchSettings(num_importance_samples=10)


def images(count=400, seed=0):
    """Binary images of three latent causes."""
    generator = np.random.default_rng(seed)
    causes = generator.normal(size=(count, 3))
    logits = causes @ generator.normal(scale=2.0, size=(3, 30))
    pixels = generator.uniform(size=(count, 30)) < 1 / (1 + np.exp(-logits))
    return pixels.astype("float32").reshape(count, 6, 5, 1)


class TinyHyperModel(tuning.VAEHyperModel):
    """One that can be made to take its time, and to die at a latent size."""

    def __init__(self, **space):
        super().__init__(
            tuning.SearchSpace(**{"latent_dims": LATENT_DIMS, "widths": (8,), **space}),
            TrainingSettings(epochs=2, batch_size=100, learning_rate=0.01),
            image_shape=(6, 5, 1),
            num_images=300,
        )

    def fit(self, hp, model, *args, **kwargs):
        history = super().fit(hp, model, *args, **kwargs)
        time.sleep(float(os.environ.get("TINY_SECONDS", "0")))
        if str(model.latent_dim) == os.environ.get("TINY_DEADLY"):
            os.abort()
        return history


def main(folder):
    everything = images()
    result = tuning.search(
        TinyHyperModel(), everything[:300], everything[300:], SETTINGS, folder=folder
    )
    if result:
        print(result.reason)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
