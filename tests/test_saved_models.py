import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae import diagnostics, load_dataset, runs

SAVED_MODELS = Path(__file__).parents[1] / "saved_models"


@pytest.fixture(scope="module")
def vae():
    return runs.load_vae(SAVED_MODELS / "digits")


def test_the_served_model_is_that_of_the_file(vae):
    served = tf.saved_model.load(SAVED_MODELS / "digits" / "1").signatures
    images = vae.sample(8, seed=0)
    posterior = served["encode"](images=images)
    np.testing.assert_allclose(posterior["mean"], vae.encode(images).mean(), atol=1e-5)
    decoded = served["decode"](latents=posterior["mean"])
    np.testing.assert_allclose(decoded["probabilities"], vae.predict(images), atol=1e-5)


def test_the_card_says_what_is_measured(vae, digits_data_dir):
    card = (SAVED_MODELS / "digits" / "card" / "README.md").read_text()
    test = load_dataset("digits", "test", binarization="fixed", seed=0, data_dir=digits_data_dir)
    numbers = diagnostics.evaluate(vae, test, 200, seed=1, verbose=False)
    for name in ("elbo", "reconstruction", "kl"):
        stated = float(re.search(rf"\| {name} \| (\S+) ±", card).group(1))
        # The noise of one draw of latents an image, over 180 images; far below that over images.
        assert numbers[name] == pytest.approx(stated, abs=0.25)


def test_what_lies_here_is_small():
    sizes = [file.stat().st_size for file in (SAVED_MODELS / "digits").rglob("*") if file.is_file()]
    assert sum(sizes) < 6e6
