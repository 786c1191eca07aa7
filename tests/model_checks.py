"""What every model must do, whatever its networks: run, train, save, load, and give the same."""

import keras
import numpy as np

import tfvae


def binary_images(count, image_shape, seed=0):
    """Binary images whose pixels differ in their frequency, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    frequencies = generator.uniform(0.05, 0.95, image_shape)
    return (generator.uniform(size=(count, *image_shape)) < frequencies).astype("float32")


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
