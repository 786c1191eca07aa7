import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.common.errors import InputError
from tfvae.training import initialization, job, runs, splits
from tfvae.training.settings import TrainingSettings

IMAGE_SHAPE = (6, 5, 1)


def small_vae(network="mlp", **sizes):
    sizes = sizes or {"mlp": {"hidden": (7,)}, "resnet": {"filters": (3,), "hidden": 4}}[network]
    encoder, decoder = tfvae.networks.build(network, IMAGE_SHAPE, 2, **sizes)
    return tfvae.VAE(encoder=encoder, decoder=decoder)


@pytest.fixture
def images():
    """In batches of uneven size, with one pixel always off and one always on."""
    images = np.random.default_rng(0).random((13, *IMAGE_SHAPE)).astype(np.float32)
    images[:, 0, 0], images[:, 1, 2] = 0.0, 1.0
    return images


def probabilities_without_latents(vae):
    """What the decoder gives where its hidden layers are silent."""
    for layer in vae.decoder.layers[:-2]:
        layer.set_weights([0 * weight for weight in layer.get_weights()])
    return vae.decode(tf.zeros((1, 2))).mean()[0].numpy()


def test_each_pixel_starts_at_its_mean(images):
    vae = small_vae()
    initialization.set_decoder_bias(vae, tf.data.Dataset.from_tensor_slices(images).batch(4))
    expected = np.clip(images.mean(axis=0), 0.001, 0.999)
    np.testing.assert_allclose(probabilities_without_latents(vae), expected, rtol=1e-4)


def test_a_shared_bias_starts_at_the_mean_of_its_channel(images):
    vae = small_vae("resnet")
    initialization.set_decoder_bias(vae, tf.data.Dataset.from_tensor_slices(images).batch(4))
    bias = vae.decoder.get_layer("logits").bias.numpy()
    expected = np.clip(images.mean(axis=0), 0.001, 0.999).mean()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), [expected], rtol=1e-4)


def test_a_decoder_without_such_a_bias_is_refused(images):
    data = tf.data.Dataset.from_tensor_slices(images).batch(4)
    for use_bias, message in ((False, "it has none"), (True, "of an image.* has shape \\(60,\\)")):
        layers = [
            keras.Input((2,)),
            keras.layers.Dense(60, use_bias=use_bias),
            keras.layers.Reshape((6, 5, 2)),
            keras.layers.Conv2D(1, kernel_size=1, use_bias=False),
        ]
        vae = tfvae.VAE(IMAGE_SHAPE, 2, decoder=keras.Sequential(layers))
        with pytest.raises(InputError, match=message):
            initialization.set_decoder_bias(vae, data)


def test_weights_are_copied():
    source, vae = small_vae(), small_vae()
    initialization.copy_weights(source, vae)
    for part in ("encoder", "decoder"):
        pairs = zip(
            getattr(source, part).get_weights(), getattr(vae, part).get_weights(), strict=True
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_weights_of_other_networks_are_refused_and_nothing_changes():
    source, vae = small_vae(hidden=(8,)), small_vae()
    before = vae.get_weights()
    with pytest.raises(InputError, match=r"encoder has weights of shapes 30x8, .* there, and 30x7"):
        initialization.copy_weights(source, vae)
    for one, other in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def settings(digits_data_dir):
    return TrainingSettings(data_dir=str(digits_data_dir), latent_dim=2, hidden=[8])


def initialized(settings):
    vae = job.build_vae(settings, (28, 28, 1))
    initialization.initialize(vae, settings)
    return vae


def test_training_starts_from_the_mean_of_the_data(settings):
    assert not initialized(settings).decoder.get_layer("pixels").bias.numpy().any()
    bias = initialized(settings.replace(decoder_bias="data_mean")).decoder.get_layer("pixels").bias
    batches = splits.load_split(settings, "train", binarization="none").as_numpy_iterator()
    expected = np.clip(np.concatenate(list(batches)).mean(axis=0), 0.001, 0.999).ravel()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias.numpy())), expected, rtol=1e-3)


def test_training_starts_from_another_model(settings, tmp_path):
    source = job.build_vae(settings, (28, 28, 1))
    source.save(tmp_path / runs.MODEL)
    for place in (tmp_path, tmp_path / runs.MODEL):
        vae = initialized(settings.replace(initial_model=str(place)))
        np.testing.assert_array_equal(vae.decoder.get_weights()[0], source.decoder.get_weights()[0])
    with pytest.raises(InputError, match="initial model must have the networks of the settings"):
        initialized(settings.replace(initial_model=str(tmp_path), hidden=[9]))


def test_the_name_of_a_pretrained_model_means_that_one_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    vae = initialized(TrainingSettings(hidden=[256, 256], initial_model="digits"))
    np.testing.assert_array_equal(
        vae.encoder.get_weights()[0], tfvae.load_pretrained("digits").encoder.get_weights()[0]
    )
