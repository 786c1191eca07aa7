"""tfvae, as its users call it."""

import keras
import numpy as np
import tensorflow as tf

import tfvae
from training_peers.keras_turns import MANY_EPOCHS, TakeTurns
from training_peers.problems import IMAGE_SHAPE, LEARNING_RATE, Weights


def make_ours(problem, dtype, num_resampled=None):
    """The compiled model: the one place that says how a user would compile it for speed."""
    encoder, decoder = tfvae.networks.build(
        problem.network, IMAGE_SHAPE, problem.latent_dim, dtype=dtype, **problem.sizes
    )
    vae = tfvae.VAE(encoder=encoder, decoder=decoder, dtype=dtype)
    objective = "elbo"
    if problem.num_samples > 1:
        objective = tfvae.objectives.IWAE(
            num_samples=problem.num_samples, num_resampled=num_resampled
        )
    vae.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        objective=objective,
    )
    return vae


def train(problem, data, turns, way, dtype="float32", num_resampled=None):
    keras.utils.set_random_seed(1)
    vae = make_ours(problem, dtype, num_resampled)
    vae.encoder.set_weights(data.weights.encoder)
    vae.decoder.set_weights(data.weights.decoder)
    images = data.images.astype(np.float32)
    arguments = {"epochs": MANY_EPOCHS, "verbose": 0, "callbacks": [TakeTurns(turns)]}
    if way == "array":
        vae.fit(images, batch_size=problem.batch_size, **arguments)
    elif way == "dataset":
        batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
        batches = batches.batch(problem.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        vae.fit(batches, **arguments)
    else:
        batches = tfvae.load_dataset(
            "mnist",
            f"train[:{len(images)}]",
            batch_size=problem.batch_size,
            data_dir=data.data_dir,
        )
        vae.fit(batches, **arguments)
    return Weights(vae.encoder.get_weights(), vae.decoder.get_weights())
