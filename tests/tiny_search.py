"""A search over tiny models; also a program, for what needs several processes or a kill.

python tests/tiny_search.py FOLDER [WORKERS]
"""

import os
import sys
import time
from pathlib import Path

import keras_tuner
import numpy as np
import rich

from tfvae import tuning
from tfvae.training.settings import TrainingSettings
from tfvae.tuning import oracles
from tfvae.tuning.trials import TrialTuner

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
            TrainingSettings(epochs=1, batch_size=300, learning_rate=0.01),
            image_shape=(6, 5, 1),
            num_images=300,
        )

    def fit(self, hp, model, *args, **kwargs):
        history = super().fit(hp, model, *args, **kwargs)
        time.sleep(float(os.environ.get("TINY_SECONDS", "0")))
        if str(model.latent_dim) == os.environ.get("TINY_DEADLY"):
            os.abort()
        return history


class NumbersHyperModel(keras_tuner.HyperModel):
    """Numbers to choose, and no model."""

    training = TrainingSettings(epochs=4)

    def settings(self, hp):
        return self.training

    def build(self, hp):
        hp.Choice("latent_dim", [2, 4, 8])
        hp.Choice("width", [16, 32])


GRID = [(2, 16), (2, 32), (4, 16), (4, 32), (8, 16), (8, 32)]
"""The combinations of these numbers."""


class NumbersTuner(TrialTuner):
    """Trials that take no time: the latent size is the score."""

    def run_trial(self, trial, run):
        # What ended well is not run again.
        assert oracles.read_trials(Path(self.project_dir))[trial.trial_id]["status"] == "RUNNING"
        run.append(tuple(trial.hyperparameters.values[name] for name in ("latent_dim", "width")))
        return float(run[-1][0])


def main(folder, num_workers=None):
    everything = images()
    result = tuning.search(
        TinyHyperModel(),
        everything[:300],
        everything[300:],
        SETTINGS,
        folder=folder,
        num_workers=num_workers and int(num_workers),
    )
    if result:
        rich.print(result)
        print(result.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
