"""Small models and images, what every model must do, and training that must give the same."""

import keras
import numpy as np
import tensorflow as tf

import tfvae

IMAGE_SHAPE = (6, 5, 1)


def binary_images(count, image_shape, seed=0):
    """Binary images whose pixels differ in their frequency, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    frequencies = generator.uniform(0.05, 0.95, image_shape)
    return (generator.uniform(size=(count, *image_shape)) < frequencies).astype("float32")


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


def check_model(vae, folder):
    """Runs a model through all that Keras users do with one; returns the model loaded again."""
    images = binary_images(12, vae.image_shape)
    latents = vae.prior.sample(5, seed=(0, 1))

    posterior = vae.encode(images)
    assert posterior.batch_shape == (12,)
    assert posterior.event_shape == (vae.latent_dim,)
    assert posterior.dtype == vae.distribution_dtype
    likelihood = vae.decode(latents)
    assert likelihood.batch_shape == (5,)
    assert likelihood.event_shape == vae.image_shape
    assert likelihood.dtype == vae.distribution_dtype

    vae.compile(optimizer=keras.optimizers.Adam(1e-3))
    before = [np.copy(weights) for weights in vae.get_weights()]
    history = vae.fit(
        images, batch_size=5, epochs=2, validation_data=(images, images), verbose=0
    ).history
    names = {"loss", "elbo", "reconstruction", "kl"}
    assert set(history) == names | {f"val_{name}" for name in names}
    assert np.isfinite(list(history.values())).all()
    assert all((x != y).any() for x, y in zip(before, vae.get_weights(), strict=True))
    assert vae.predict(images, verbose=0).shape == images.shape
    assert set(np.unique(vae.sample(4, seed=0))) <= {0.0, 1.0}

    path = folder / "model.keras"
    vae.save(path)
    loaded = keras.saving.load_model(path)
    assert isinstance(loaded, tfvae.VAE)
    assert loaded.image_shape == vae.image_shape
    assert loaded.latent_dim == vae.latent_dim
    assert loaded.dtype_policy.name == vae.dtype_policy.name
    np.testing.assert_array_equal(vae.elbo(images, seed=3), loaded.elbo(images, seed=3))
    np.testing.assert_array_equal(vae.sample(4, seed=3), loaded.sample(4, seed=3))
    continued = [
        model.fit(images, batch_size=5, shuffle=False, verbose=0).history for model in (vae, loaded)
    ]
    assert continued[0] == continued[1]
    return loaded
