"""The numbers that a model is judged by, on held-out images."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.vae import VAE


def evaluate(
    vae: VAE, images: tf.data.Dataset, *, num_importance_samples: int, seed: int
) -> dict[str, Any]:
    """Evaluates a model."""
    elbo = np.concatenate([vae.elbo(batch, seed=seed) for batch in images])
    return {"elbo": float(elbo.mean()), "elbo_stderr": float(elbo.std() / len(elbo) ** 0.5)}


def report(results):
    return [f"ELBO {results['elbo']:.2f} ± {results['elbo_stderr']:.2f}"]


def check_num_importance_samples(n):
    pass
