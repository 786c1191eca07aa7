import pytest

from tfvae.common.errors import InputError
from tfvae.tuning import SearchSettings, SearchSpace


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latent_dims": (2, 0)}, r"latent_dims must be a list of integers from 1 .*; got \(2, 0"),
        ({"latent_dims": ()}, r"latent_dims must be .*; got \(\)"),
        ({"latent_dims": (10**11,)}, "integers from 1 to 100,000, or none; got"),
        ({"latent_dims": (2, 2.5)}, "integers from 1 "),
        ({"latent_dims": (True,)}, "integers from 1 "),
        ({"latent_dims": (8, 2, 8)}, "latent_dims must not have a value twice; got 8, 2, 8"),
        ({"latent_range": (8, 2)}, "must be the smallest latent size, then the largest"),
        ({"latent_range": (2, 8), "latent_dims": (2,)}, "either listed or a range"),
        ({"networks": ("mlp", "cnn")}, "one of mlp, conv, resnet, or none; got"),
        ({"learning_rates": (0.0,)}, "numbers above 0"),
        ({"betas": (float("nan"),)}, "numbers from 0"),
        ({"latent_dim": (2,)}, "'latent_dim' is not known: did you mean latent_dims?"),
    ],
)
def test_a_space_refuses_what_is_impossible(given, message):
    with pytest.raises(InputError, match=message):
        SearchSpace(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "Gridsearch"}, "algorithm must be one of GridSearch, "),
        ({"objective": "val_accuracy"}, "objective must be one of val_elbo, "),
        ({"max_trials": 0}, "max_trials must be an integer from 1 .*; got 0"),
        ({"executions": 1.5}, "executions must be an integer"),
    ],
)
def test_settings_refuse_what_is_impossible(given, message):
    with pytest.raises(InputError, match=message):
        SearchSettings(**given)
