"""The images, the weights to start from, and the judge: tfvae in the process that asks the others.

All contestants are judged here, with the same images and the same noise.
"""

import keras
import numpy as np
import tensorflow as tf

import tfvae
from training_peers.problems import IMAGE_SHAPE, Data, Problem, Weights

NUM_IMAGES = 1000
NUM_LATENTS = 16


def load_images(split: str, data_dir: str | None) -> np.ndarray:
    """uint8 `[n, 28, 28, 1]` of 0 and 1, the same at each call."""
    batches = tfvae.load_dataset(
        "mnist", split, batch_size=1000, binarization="fixed", shuffle=False, data_dir=data_dir
    )
    return np.concatenate([batch.numpy().astype(np.uint8) for batch in batches])


def initial_data(problem: Problem, images: np.ndarray, data_dir: str | None) -> Data:
    """The data of a problem, with weights as Keras draws them."""
    keras.utils.set_random_seed(0)
    vae = _vae(problem)
    weights = Weights(vae.encoder.get_weights(), vae.decoder.get_weights())
    return Data(images, weights, data_dir)


def bound(problem: Problem, weights: Weights, images: np.ndarray) -> float:
    """The mean over the images of the bound that was trained, in nats."""
    vae = _vae(problem)
    vae.encoder.set_weights(weights.encoder)
    vae.decoder.set_weights(weights.decoder)
    if problem.num_samples == 1:
        objective = tfvae.objectives.ELBO(num_samples=NUM_LATENTS)
    else:
        objective = tfvae.objectives.IWAE(num_samples=problem.num_samples)

    @tf.function
    def objective_of(batch):
        noise = objective.draw_noise(
            tf.shape(batch)[0], vae.latent_dim, seed=(0, 0), dtype=tf.float32
        )
        return objective(
            batch, posterior=vae.encode(batch), prior=vae.prior, decode=vae.decode, noise=noise
        ).objective

    batches = np.array_split(images.astype(np.float32), 20)
    return float(np.mean(np.concatenate([objective_of(batch).numpy() for batch in batches])))


def _vae(problem):
    encoder, decoder = tfvae.networks.build(
        problem.network, IMAGE_SHAPE, problem.latent_dim, **problem.sizes
    )
    return tfvae.VAE(encoder=encoder, decoder=decoder)
