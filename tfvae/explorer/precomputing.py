"""What a page shows of a model whose network it cannot run."""

import math
from typing import Any

import numpy as np

from tfvae import inference
from tfvae.explorer.packing import Arrays
from tfvae.inference.batched_estimates import encode_in_batches, latents_per_pass
from tfvae.vae import VAE

TRAVERSED = 8
"""The latents along which a page without its network moves, those of most KL first."""
STEPS = 9
"""The values along each of them, from -3 to 3; those of the plane are as many."""
_MOST_RECONSTRUCTIONS = 100


def precompute(vae: VAE, images: np.ndarray | None, arrays: Arrays) -> dict[str, Any]:
    """Latents and what they decode to: reconstructions, traversals, the plane, samples.

    The latents that vary are those of most KL over the held-out images; where there are none, the
    first ones. The page looks for the nearest latents that are there.
    """
    packed: dict[str, Any] = {}
    latents = [np.zeros((1, vae.latent_dim)), np.asarray(vae.prior.sample(50, seed=(0, 0)))]
    order = np.arange(vae.latent_dim)
    if images is not None:
        posterior = encode_in_batches(vae, images)
        divergences = np.asarray(
            inference.kl_per_dimension(posterior, vae.prior, per_image=True), np.float32
        )
        order = np.argsort(-divergences.mean(axis=0), kind="stable")
        mean = np.asarray(posterior.mean(), np.float32)
        latents += [mean[:_MOST_RECONSTRUCTIONS]]
        draws = np.stack([np.asarray(vae.elbo(images, seed=seed)) for seed in range(8)])
        kl = divergences.sum(axis=1)
        packed |= {
            "mean": arrays.add(mean),
            "stddev": arrays.add(np.asarray(posterior.stddev(), np.float32)),
            "divergences": arrays.add(divergences),
            "reconstruction": arrays.add(draws.mean(axis=0) + kl),
            "kl": arrays.add(kl),
        }
    center = latents[-1][0]
    values = np.linspace(-3, 3, STEPS)
    for latent in order[:TRAVERSED]:
        row = np.tile(center, (STEPS, 1))
        row[:, latent] = values
        latents.append(row)
    if vae.latent_dim > 1:
        plane = np.tile(center, (STEPS, STEPS, 1))
        plane[..., order[0]], plane[..., order[1]] = np.meshgrid(values, values)
        latents.append(plane.reshape(-1, vae.latent_dim))
    stored = np.concatenate(latents).astype(np.float32)
    size = latents_per_pass(vae)
    means = [
        np.asarray(vae.decode(stored[start : start + size]).mean())
        for start in range(0, len(stored), size)
    ]
    levels = np.rint(np.concatenate(means) * 255).clip(0, 255).astype(np.uint8)
    packed["latents"] = arrays.add(stored)
    packed["means"] = arrays.add(levels.reshape(len(stored), math.prod(vae.image_shape)))
    return packed
