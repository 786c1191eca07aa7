import re

import numpy as np
import pytest

import tfvae
from tfvae.datasets.catalog import DatasetDescription
from tfvae.training import model_card, runs
from tfvae.training.settings import TrainingSettings

MNIST = DatasetDescription(
    name="mnist/3.0.1",
    image_shape=(28, 28, 1),
    image_dtype=np.dtype("uint8"),
    maximum_intensity=255,
    num_examples={"train": 54_000, "validation": 6000, "test": 10_000},
    validation_is_of_train=True,
    class_names=None,
)


@pytest.fixture(scope="module")
def card_of(tiny_run):
    """The card of the tiny model, as if it were of other settings and results, on MNIST."""

    def card(settings=None, pictures=(), **results):
        return model_card.fill_card(
            tiny_run.vae,
            settings or runs.settings_beside(tiny_run.folder),
            MNIST,
            tiny_run.results | results,
            name="tiny",
            command="tfvae train --dataset mnist",
            pictures=pictures,
        )

    return card


def test_a_card_says_what_the_model_is_and_how_good(card_of, tiny_run):
    card = card_of(pictures=["training_curves"], elbo=-20.25, elbo_stderr=0.125)
    for expected in (
        "# tiny\n",
        "28 x 28 x 1 images with 2 latent dimensions",
        f"{tiny_run.vae.encoder.count_params():,} parameters in the encoder",
        "`mnist/3.0.1`: 54,000 images to train on, 6,000 to choose the epoch, 10,000 held out",
        "dynamic binarization; the held-out images were sampled once, from seed 0.",
        "| elbo | -20.25 ± 0.12 |",
        "| num_images | 180 |",
        "```bash\ntfvae train --dataset mnist\n```",
        "Seed 3; 4 epochs of 200 images per step on the ELBO, in ",
        "like those of `digits`",
        f"tfvae {tfvae.__version__}, Python 3.",
        "tensorflow 2.",
        "![training curves](training_curves.png)",
    ):
        assert expected in card
    assert not re.search(r"[{}]", card)
    assert "weighted" not in card
    assert "| elbo | -20.25 |" in card_of(elbo=-20.25, elbo_stderr=None)
    assert "_monte_carlo_stderr | ? |" in card_of(log_likelihood_monte_carlo_stderr=None)


def test_a_card_counts_the_images_of_the_settings(card_of):
    settings = TrainingSettings(num_validation_images=2000)
    assert "58,000 images to train on, 2,000 to choose the epoch, 10,000" in card_of(settings)


def test_a_card_of_a_recipe_names_the_paper(card_of):
    card = card_of(TrainingSettings.merged(recipe="burda2015-iwae", seed=1, data_dir="/data"))
    for expected in (
        "Seed 1; from `mnist-vae` on, 4 epochs of 100 images per step",
        "the importance-weighted bound of 50 samples with the doubly reparameterized gradient",
        "(arXiv:1810.04152), its gradient through 5 resampled ones alone, in",
        "Published: -log p(x) of 84.78 nats (Burda, Grosse, Salakhutdinov.",
        "arXiv:1509.00519",
        "trained for 50 samples per image, weighted",
    ):
        assert expected in card
    card = card_of(TrainingSettings.merged(recipe="burda2015-vae"))
    assert "Seed 0; 4 epochs of 100 images per step on the ELBO, in" in card
    assert "Published: -log p(x) of 86.76 nats" in card


def test_a_card_does_not_lend_a_published_number_to_another_model(card_of):
    settings = TrainingSettings.merged(
        recipe="burda2015-vae", dataset="fashion_mnist", hidden=[16], num_validation_images=2000
    )
    card = card_of(settings)
    assert "but with other settings (dataset, hidden): its published number is not" in card
    assert "86.76" not in card
