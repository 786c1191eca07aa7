"""Small models, and how they are trained where several ways must give the same."""

import keras
import numpy as np
import tensorflow as tf

import tfvae

IMAGE_SHAPE = (6, 5, 1)


def small_vae(strategy=None, dtype=None, seed=0, noise=False):
    """A model whose posteriors are so narrow that replicas need no common noise to agree."""
    keras.utils.set_random_seed(seed)
    with (strategy or tf.distribute.get_strategy()).scope():
        encoder, decoder = tfvae.networks.build("mlp", IMAGE_SHAPE, 3, dtype, hidden=(8,))
        vae = tfvae.VAE(encoder=encoder, decoder=decoder, dtype=dtype)
    if not noise:
        vae.encoder.get_layer("posterior_parameters").bias.assign([0.0] * 3 + [-40.0] * 3)
    return vae


def trained(strategy, images, **compile_arguments):
    """Weights and logs after 20 steps on global batches of 8, the last of each epoch of 1."""
    vae = small_vae(strategy)
    vae.compile(**compile_arguments)
    weights = np.linspace(0, 3, len(images), dtype=np.float32)
    history = vae.fit(
        images,
        sample_weight=weights,
        validation_data=(images, None, weights),
        batch_size=8,
        epochs=4,
        shuffle=False,
        callbacks=[tfvae.callbacks.KLWarmup(2, start=0.5, end=1.0)],
        verbose=0,
    ).history
    assert vae.optimizer.iterations.numpy() == 20
    return vae, history
