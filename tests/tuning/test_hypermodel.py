import keras
import keras_tuner
import pytest
import tensorflow as tf
import tiny_search

import tfvae
from tfvae.common.errors import InputError
from tfvae.training.settings import TrainingSettings
from tfvae.tuning import SearchSpace, VAEHyperModel


def test_every_warm_up_of_the_space_is_checked_before_the_first_trial():
    def settings(*warmups):
        space = SearchSpace(latent_dims=(2,), warmups=warmups)
        hypermodel = VAEHyperModel(space, TrainingSettings(epochs=3), num_images=40)
        return hypermodel.settings(keras_tuner.HyperParameters())

    assert settings(0, 2).warmup_epochs == 0
    with pytest.raises(InputError, match="warmup_epochs, 3, must be fewer than the epochs, 3"):
        settings(0, 3)


def test_the_values_of_a_trial_are_those_of_its_model_and_its_training():
    hypermodel = VAEHyperModel(
        SearchSpace(
            latent_dims=(4, 2),
            networks=("conv",),
            widths=(64,),
            depths=(3,),
            learning_rates=(0.25,),
            batch_sizes=(50,),
            betas=(0.5,),
            warmups=(1,),
        ),
        TrainingSettings(epochs=2),
        image_shape=(6, 5, 1),
        num_images=100,
    )
    hp = keras_tuner.HyperParameters()
    vae = hypermodel.build(hp)
    assert hp.values == {
        "latent_dim": 2,
        "network": "conv",
        "learning_rate": 0.25,
        "batch_size": 50,
        "beta": 0.5,
        "warmup_epochs": 1,
        "width": 64,
        "depth": 3,
    }
    assert isinstance(vae, tfvae.VAE)
    assert vae.latent_dim == 2
    filters = [
        layer.filters for layer in vae.encoder.layers if isinstance(layer, keras.layers.Conv2D)
    ]
    assert filters == [4, 8, 16]
    settings = hypermodel.settings(hp)
    assert settings.filters == (4, 8, 16)
    assert settings.hidden == (32,)
    assert float(vae.optimizer.learning_rate) == 0.25
    vae.run_eagerly = True
    images = tiny_search.images(100)
    history = hypermodel.fit(hp, vae, images, verbose=0)
    assert int(vae.optimizer.iterations) == 2 * 100 / 50
    # The cosine is at its end with the last step.
    assert float(vae.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-6)
    assert vae.objective.beta == 0.5
    assert history.history["beta"][0] < 0.5
    as_dataset = tf.data.Dataset.from_tensor_slices(images).batch(7)
    hypermodel.fit(hp, vae, as_dataset, epochs=1, verbose=0)
    assert int(vae.optimizer.iterations) == 3 * 100 / 50


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_widths_and_depths_leave_the_default_networks_as_they_are(network):
    training = TrainingSettings(network=network, epochs=1)
    counts = [
        VAEHyperModel(SearchSpace(latent_dims=(2,), **space), training, image_shape=(4, 4, 1))
        .build(keras_tuner.HyperParameters())
        .count_params()
        for space in ({}, {"widths": (512,), "depths": (2,)}, {"widths": (256,)})
    ]
    assert counts[0] == counts[1] > counts[2]


def test_the_settings_of_the_networks_hold_where_nothing_is_chosen():
    training = TrainingSettings(hidden=(7, 9), epochs=1)
    hypermodel = VAEHyperModel(SearchSpace(latent_dims=(2,)), training, image_shape=(4, 4, 1))
    encoder = hypermodel.build(keras_tuner.HyperParameters()).encoder
    units = {layer.units for layer in encoder.layers if isinstance(layer, keras.layers.Dense)}
    assert {7, 9} < units


def test_a_range_of_latent_sizes_and_networks_of_ones_own():
    def build_decoder(hp):
        units = hp.Choice("units", [5, 7])
        return tfvae.networks.mlp_decoder((6, 5, 1), hp.get("latent_dim"), hidden=(units,))

    hypermodel = VAEHyperModel(
        SearchSpace(latent_range=(2, 9)), image_shape=(6, 5, 1), build_decoder=build_decoder
    )
    hp = keras_tuner.HyperParameters()
    vae = hypermodel.build(hp)
    assert next(layer.units for layer in vae.decoder.layers if hasattr(layer, "units")) == 5
    latent_dim, units = hp.space
    assert (latent_dim.name, latent_dim.min_value, latent_dim.max_value) == ("latent_dim", 2, 9)
    assert units.name == "units"


def test_the_hypermodel_works_with_a_tuner_of_kerastuner(tmp_path):
    class EagerHyperModel(tiny_search.TinyHyperModel):
        def build(self, hp):
            vae = super().build(hp)
            vae.run_eagerly = True
            return vae

    tuner = keras_tuner.RandomSearch(
        EagerHyperModel(latent_dims=(2, 3)),
        objective=keras_tuner.Objective("val_elbo", "max"),
        max_trials=1,
        directory=tmp_path,
    )
    images = tiny_search.images(200)
    tuner.search(images[:100], validation_data=(images[100:],) * 2, epochs=1, verbose=0)
    assert tuner.get_best_hyperparameters()[0].get("latent_dim") in (2, 3)
