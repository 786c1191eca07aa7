import json
import os

import pytest

from tfvae.common.errors import InputError
from tfvae.training.settings import TrainingSettings


def test_what_is_given_goes_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('dataset = "mnist"\nlatent_dim = 8\nlearning_rate = 1\n')
    settings = TrainingSettings.merged(file, latent_dim=16)
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
    with pytest.raises(InputError, match=r"learning_rate must be a number above 0 .*; got 'none'"):
        TrainingSettings.merged(recipe=recipe, learning_rate="none")
    # JSON has a null for it, and Python a None.
    file = tmp_path / "settings.json"
    file.write_text(f'{{"recipe": "{recipe}", "average_weights": null}}')
    assert TrainingSettings.merged(file).average_weights is None
    assert TrainingSettings.merged(recipe=recipe, average_weights=None).average_weights is None
    assert TrainingSettings.merged(file, recipe=None) == TrainingSettings()


def test_what_is_wrong_names_the_recipe_or_the_file_that_it_is_from(tmp_path):
    with pytest.raises(InputError) as refused:
        TrainingSettings.merged(
            recipe="burda2015-iwae", objective="elbo", gradient_estimator="score_function"
        )
    assert str(refused.value).endswith(
        "the objective is elbo: leave it out (the recipe burda2015-iwae has num_resampled = 5; "
        "--num-resampled none takes it away)"
    )
    with pytest.raises(InputError, match=r"\(the recipe \S+ has filters = \[16, 32, 32\]; --fil"):
        TrainingSettings.merged(recipe="kingma2016-resnet-vae", network="mlp")
    with pytest.raises(InputError, match=r"must be a number above 0 .*; got -1$"):
        TrainingSettings.merged(recipe="burda2015-vae", learning_rate=-1)
    file = tmp_path / "settings.toml"
    file.write_text("latent_dim = '8'\nseed = 3\n")
    with pytest.raises(InputError, match=rf"got '8' \({file} has latent_dim = '8'\)$"):
        TrainingSettings.merged(file, seed=4)
    assert TrainingSettings.merged(file, latent_dim=9).seed == 3


def test_settings_of_a_run_are_read_again(tmp_path):
    settings = TrainingSettings(hidden=[20, 10], epochs=3, warmup_epochs=2, learning_rate=1)
    file = tmp_path / "settings.json"
    file.write_text(settings.to_json())
    assert TrainingSettings.of_run(file) == settings
    assert TrainingSettings.of_run(file, seed=4) == settings.replace(seed=4)
    # Where a person names a recipe, it is what is meant; a run is what it was.
    file.write_text('{"recipe": "burda2015-iwae", "objective": "iwae"}')
    assert TrainingSettings.merged(file).gradient_estimator == "doubly_reparameterized"
    run = TrainingSettings.of_run(file)
    assert (run.recipe, run.objective, run.gradient_estimator) == (
        "burda2015-iwae",
        "iwae",
        "reparameterized",
    )


def test_a_number_of_validation_images_is_that_of_one_data_set(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"dataset": "mnist", "num_validation_images": 200}')
    for read in (TrainingSettings.merged, TrainingSettings.of_run):
        assert read(file, dataset="mnist").num_validation_images == 200
        assert read(file, dataset="digits").num_validation_images is None
        assert read(file, dataset="digits", num_validation_images=3).num_validation_images == 3
    settings = TrainingSettings(num_validation_images=200)
    assert settings.replace(dataset="digits") == settings
    assert settings.replace(dataset="mnist") == TrainingSettings(dataset="mnist")
    # So also over a recipe.
    file.write_text('{"recipe": "tomczak2018-vae", "dataset": "fashion_mnist"}')
    assert TrainingSettings.merged(file).num_validation_images is None


SIZE = "an integer from 1 to 100,000"
COUNT = "an integer from 1 to 1,000,000,000"
SIZES = "a list of integers from 1 to 100,000, or none"
POSITIVE = "a number above 0 and at most 1,000,000,000"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_validation_images": 0}, f"num_validation_images must be {COUNT}, or none; got 0"),
        ({"latent_dim": 0}, f"latent_dim must be {SIZE}; got 0"),
        ({"latent_dim": 10**11}, f"latent_dim must be {SIZE}; got 100000000000"),
        ({"latent_dim": "8"}, f"latent_dim must be {SIZE}; got '8'"),
        ({"hidden": [64, 0]}, f"hidden must be {SIZES}; got [64, 0]"),
        ({"hidden": []}, f"hidden must be {SIZES}; got []"),
        ({"hidden": 64}, f"hidden must be {SIZES}; got 64"),
        ({"filters": [8, 0], "network": "conv"}, f"filters must be {SIZES}; got [8, 0]"),
        ({"filters": [8]}, "filters is for the network conv or resnet; the network is mlp"),
        ({"blocks": 2, "network": "conv"}, "blocks is for the network resnet; the network is conv"),
        ({"blocks": 0, "network": "resnet"}, f"blocks must be {SIZE}, or none; got 0"),
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
            "initial_model brings its own bias of the logits: leave out it or decoder_bias",
        ),
        ({"objective": "gan"}, "objective must be one of elbo, iwae; got 'gan'"),
        ({"num_samples": 0}, f"num_samples must be {SIZE}; got 0"),
        (
            {"gradient_estimator": "dreg"},
            "must be one of reparameterized, score_function, doubly_r",
        ),
        ({"num_resampled": 1}, "is for the objective iwae; the objective is elbo"),
        (
            {"objective": "iwae", "num_samples": 5, "num_resampled": 6},
            "num_resampled must be at most num_samples, 5; got 6",
        ),
        (
            {
                "objective": "iwae",
                "num_samples": 5,
                "num_resampled": 2,
                "network": "resnet",
                "batch_normalization": True,
            },
            "leave out it or batch_normalization",
        ),
        ({"num_resampled": 0}, f"num_resampled must be {SIZE}, or none; got 0"),
        (
            {"network": "resnet", "batch_normalization": True, "average_weights": 0.9},
            "average_weights averages no moving means and variances",
        ),
        (
            {"gradient_estimator": "doubly_reparameterized"},
            "is for the objective iwae; the objective is elbo: leave it out",
        ),
        (
            {"gradient_estimator": "score_function", "objective": "iwae"},
            "is for the objective elbo; the objective is iwae: leave it out",
        ),
        ({"objective": "iwae", "warmup_epochs": 2}, "warmup_epochs is for the objective elbo; "),
        ({"objective": "iwae", "beta": 0.5}, "beta is for the objective elbo; the objective is i"),
        ({"free_bits": -1}, "free_bits must be a number from 0 to 1,000,000,000"),
        ({"average_weights": 1.0}, "must be a number above 0 and below 1, or none; got 1.0"),
        ({"weight_decay": 0}, f"weight_decay must be {POSITIVE}, or none; got 0"),
        ({"gradient_clipping": 0}, f"gradient_clipping must be {POSITIVE}, or none; got 0"),
        ({"learning_rate_schedule": "step"}, "must be one of cosine, constant, piecewise; got "),
        ({"batch_size": 2.5}, f"batch_size must be {SIZE}; got 2.5"),
        ({"epochs": True}, f"epochs must be {COUNT}, or none; got True"),
        ({"epochs": 2**64}, f"epochs must be {COUNT}, or none; got 18446744073709551616"),
        ({"seed": -1}, "seed must be an integer from 0 to 4,294,967,295; got -1"),
        ({"seed": 2**32}, "from 0 to 4,294,967,295; got 4294967296"),
        ({"beta": -0.5}, "beta must be a number from 0 to 1,000,000,000; got -0.5"),
        ({"beta": float("nan")}, "beta must be a number from 0 to"),
        ({"beta": 10**400}, "beta must be a number from 0 to"),
        ({"learning_rate": 0.0}, f"learning_rate must be {POSITIVE}; got 0.0"),
        ({"learning_rate": float("inf")}, f"learning_rate must be {POSITIVE}; got inf"),
        ({"learning_rate": "fast"}, f"learning_rate must be {POSITIVE}; got 'fast'"),
        ({"network": "transformer"}, "network must be one of mlp, conv, resnet; got 'transformer'"),
        ({"network": ["mlp"]}, "network must be one of mlp, conv, resnet; got ['mlp']"),
        ({"binarization": "maybe"}, "binarization must be one of dynamic, fixed, threshold, none"),
        ({"precision": "float8"}, "precision must be one of float32, mixed_bfloat16"),
        ({"dataset": ""}, "dataset must be text of at least a character, and without null cha"),
        ({"initial_model": "a\0b"}, "and without null characters, or none; got 'a\\x00b'"),
        ({"dataset": None}, "dataset must be text"),
        ({"data_dir": {"a": [1]}}, "without null characters, or none; got {'a': [1]}"),
        ({"latent_dims": 3}, "'latent_dims' is not known: did you mean latent_dim?"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(InputError) as error:
        TrainingSettings(**given)
    assert message in str(error.value)


DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "latent_dims = 3", "'latent_dims' is not known: did you mean latent_dim? ("),
        ("a.toml", "colour = 3", "'colour' is not known: known are recipe, dataset"),
        ("a.toml", "latent_dim =", "is not TOML"),
        ("a.toml", "seed = " + DEEP * "[", "is not TOML: it is nested too deeply"),
        ("a.toml", "recipe = 5", "recipe must be text"),
        ("a.toml", "hidden = {a = 5}", "hidden must be a list of integers"),
        ("a.json", "{", "is not JSON"),
        (
            "a.json",
            '{"seed": ' + DEEP * "[" + DEEP * "]" + "}",
            "is not JSON: it is nested too deep",
        ),
        ("a.json", '{"seed": ' + 5000 * "9" + "}", "is not JSON"),
        ("a.json", '{"beta": NaN}', "beta must be a number"),
        ("a.json", '{"self": 1}', "'self' is not known: known are recipe"),
        ("a.json", '{"' + DEEP * "a" + '": 1}', "is not known: known are recipe"),
        ("a.json", '{"beta": 1e999}', "beta must be a number"),
        ("a.json", "[1]", "must hold settings by name; it holds list"),
        ("a.yaml", "latent_dim: 3", "must be in a .toml or a .json file"),
        ("a.json", None, "cannot read the settings"),
        ("a.json", "PIPE", "must be a file; there is a folder or a pipe"),
        ("a\0.json", None, "embedded null byte"),
    ],
)
def test_files_that_are_no_settings_are_refused(name, text, message, tmp_path):
    file = tmp_path / name
    if text == "PIPE":
        os.mkfifo(file)
    elif text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as error:
        TrainingSettings.merged(file)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_every_setting_has_a_help_and_is_in_json():
    fields = TrainingSettings.model_fields
    assert list(json.loads(TrainingSettings().to_json())) == list(fields)
    assert all(len(field.description) > 10 for field in fields.values())


def test_the_bound_that_is_trained_is_the_one_that_is_monitored():
    assert TrainingSettings(beta=0.5).monitor == "val_elbo"
    assert TrainingSettings(objective="iwae", num_samples=5).monitor == "val_loss"
