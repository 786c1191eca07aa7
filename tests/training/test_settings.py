import dataclasses
import json

import pytest

from tfvae.common.errors import InputError
from tfvae.training.settings import TrainingSettings


def test_what_is_given_goes_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('dataset = "mnist"\nlatent_dim = 8\nlearning_rate = 1\n')
    settings = TrainingSettings.merged(file, latent_dim=16, beta=None)
    assert (settings.dataset, settings.latent_dim, settings.beta) == ("mnist", 16, 1.0)
    assert settings.learning_rate == 1


def test_none_takes_away_what_lies_under_it(tmp_path):
    recipe = "kingma2016-resnet-vae"
    assert TrainingSettings.merged(recipe=recipe).average_weights == 0.999
    settings = TrainingSettings.merged(recipe=recipe, average_weights="none")
    assert (settings.average_weights, settings.gradient_clipping) == (None, 100.0)
    file = tmp_path / "settings.toml"
    file.write_text(f'recipe = "{recipe}"\ngradient_clipping = "none"\n')
    settings = TrainingSettings.merged(file)
    assert (settings.average_weights, settings.gradient_clipping) == (0.999, None)
    file.write_text("weight_decay = 0.1\n")
    assert TrainingSettings.merged(file, weight_decay="none").weight_decay is None
    # It is a binarization, and no learning rate.
    assert TrainingSettings.merged(binarization="none").binarization == "none"
    with pytest.raises(InputError, match="learning_rate must be a number; got 'none'"):
        TrainingSettings.merged(recipe=recipe, learning_rate="none")


def test_what_is_wrong_with_a_recipe_names_what_is_of_it():
    with pytest.raises(InputError) as refused:
        TrainingSettings.merged(recipe="burda2015-iwae", objective="elbo", gradient="plain")
    note = (
        ". The recipe burda2015-iwae has resampled_per_image = 5; --resampled-per-image none takes "
        "it away"
    )
    assert str(refused.value).endswith(f"the objective is elbo: leave it out{note}")
    with pytest.raises(InputError, match=r"has filters = \[16, 32, 32\]$"):
        TrainingSettings.merged(recipe="kingma2016-resnet-vae", network="mlp")
    with pytest.raises(InputError, match=r"must be a finite number above 0; got -1$"):
        TrainingSettings.merged(recipe="burda2015-vae", learning_rate=-1)


def test_settings_of_a_run_are_read_again(tmp_path):
    settings = TrainingSettings(hidden=[20, 10], epochs=3, warmup_epochs=2)
    file = tmp_path / "settings.json"
    file.write_text(settings.to_json())
    assert TrainingSettings.of_run(file) == settings
    assert TrainingSettings.of_run(file, seed=4) == dataclasses.replace(settings, seed=4)
    # Where a person names a recipe, it is what is meant; a run is what it was.
    file.write_text('{"recipe": "burda2015-iwae", "objective": "iwae"}')
    assert TrainingSettings.merged(file).gradient == "doubly_reparametrized"
    run = TrainingSettings.of_run(file)
    assert (run.recipe, run.objective, run.gradient) == ("burda2015-iwae", "iwae", "plain")


def test_a_number_of_validation_images_is_that_of_one_data_set(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"dataset": "mnist", "num_validation_images": 200}')
    for read in (TrainingSettings.merged, TrainingSettings.of_run):
        assert read(file, dataset="mnist").num_validation_images == 200
        assert read(file, dataset="digits").num_validation_images is None
        assert read(file, dataset="digits", num_validation_images=3).num_validation_images == 3
    settings = TrainingSettings(num_validation_images=200)
    assert settings.with_given(dataset="digits", seed=None) == settings
    assert settings.with_given(dataset="mnist") == TrainingSettings(dataset="mnist")
    # So also over a recipe.
    file.write_text('{"recipe": "tomczak2018-vae", "dataset": "fashion_mnist"}')
    assert TrainingSettings.merged(file).num_validation_images is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"num_validation_images": 0},
            "num_validation_images must be an integer of at least 1; got 0",
        ),
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1; got 0"),
        ({"hidden": [64, 0]}, "hidden must be integers of at least 1; got [64, 0]"),
        ({"hidden": 64}, "hidden must be integers of at least 1; got 64"),
        ({"filters": [8, 0], "network": "conv"}, "filters must be integers of at least 1; got [8"),
        ({"filters": [8]}, "filters is for the network conv or resnet; the network is mlp"),
        ({"blocks": 2, "network": "conv"}, "blocks is for the network resnet; the network is conv"),
        ({"blocks": 0, "network": "resnet"}, "blocks must be an integer of at least 1; got 0"),
        ({"batch_normalization": True}, "is for the network resnet; the network is mlp"),
        ({"batch_normalization": 1}, "batch_normalization must be true or false; got 1"),
        (
            {"hidden": [64, 32], "network": "conv"},
            "hidden must be one number for the network conv; got (64, 32)",
        ),
        ({"activation": "glu", "network": "conv"}, "glu is for the network mlp; the network is c"),
        ({"activation": "sine"}, "activation must be one of relu, elu, selu, gelu"),
        ({"decoder_bias": "ones"}, "decoder_bias must be one of zeros, data_mean; got 'ones'"),
        (
            {"initial_model": "digits", "decoder_bias": "data_mean"},
            "initial_model brings its own bias of the logits: leave it out, or decoder_bias data_m",
        ),
        ({"objective": "gan"}, "objective must be one of elbo, iwae; got 'gan'"),
        ({"latents_per_image": 0}, "latents_per_image must be an integer of at least 1; got 0"),
        ({"gradient": "dreg"}, "gradient must be one of plain, doubly_reparametrized; got 'dreg'"),
        ({"resampled_per_image": 1}, "is for the objective iwae; the objective is elbo"),
        (
            {"objective": "iwae", "latents_per_image": 5, "resampled_per_image": 6},
            "resampled_per_image must be at most latents_per_image, 5; got 6",
        ),
        (
            {
                "objective": "iwae",
                "latents_per_image": 5,
                "resampled_per_image": 2,
                "network": "resnet",
                "batch_normalization": True,
            },
            "leave out it or batch_normalization",
        ),
        ({"resampled_per_image": 0}, "resampled_per_image must be an integer of at least 1; got 0"),
        (
            {"network": "resnet", "batch_normalization": True, "average_weights": 0.9},
            "average_weights averages no moving means and variances",
        ),
        ({"gradient": "doubly_reparametrized"}, "is for the objective iwae; the objective is elbo"),
        ({"objective": "iwae", "warmup_epochs": 2}, "weigh the KL of the objective elbo; the obj"),
        ({"objective": "iwae", "beta": 0.5}, "which has none to weigh: leave them out"),
        ({"free_bits": -1}, "free_bits must be a finite number of at least 0; got -1"),
        ({"average_weights": 1.0}, "average_weights must be a finite number between 0 and 1"),
        ({"weight_decay": 0}, "weight_decay must be a finite number above 0; got 0"),
        ({"gradient_clipping": 0}, "gradient_clipping must be a finite number above 0; got 0"),
        ({"learning_rate_schedule": "step"}, "must be one of cosine, constant, piecewise; got "),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1; got 2.5"),
        ({"epochs": True}, "epochs must be an integer of at least 1; got True"),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"beta": -0.5}, "beta must be a finite number of at least 0; got -0.5"),
        ({"beta": float("nan")}, "beta must be a finite number of at least 0; got nan"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0; got 0.0"),
        ({"learning_rate": "fast"}, "learning_rate must be a number; got 'fast'"),
        ({"network": "transformer"}, "network must be one of mlp, conv, resnet; got 'transformer'"),
        ({"binarization": "maybe"}, "binarization must be one of dynamic, fixed, threshold, none"),
        ({"precision": "float8"}, "precision must be one of float32, mixed_bfloat16"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(InputError) as error:
        TrainingSettings(**given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "latent_dims = 3", "unknown setting 'latent_dims': did you mean latent_dim?"),
        ("a.toml", "colour = 3", "unknown setting 'colour': known are recipe, dataset"),
        ("a.toml", "latent_dim =", "is not TOML"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "must hold settings by name; it holds list"),
        ("a.yaml", "latent_dim: 3", "must be in a .toml or a .json file"),
        ("a.json", None, "cannot read the settings"),
    ],
)
def test_files_that_are_no_settings_are_refused(name, text, message, tmp_path):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as error:
        TrainingSettings.merged(file)
    assert message in str(error.value)


def test_json_holds_every_setting():
    assert set(json.loads(TrainingSettings().to_json())) == set(TrainingSettings.__annotations__)


def test_the_bound_that_is_trained_is_the_one_that_is_monitored():
    assert TrainingSettings(beta=0.5).monitor == "val_elbo"
    assert TrainingSettings(objective="iwae", latents_per_image=5).monitor == "val_loss"
