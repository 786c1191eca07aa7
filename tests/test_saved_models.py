import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae.inference import marginal_likelihood as likelihood
from tfvae.training import recipes, runs, splits
from tfvae.training.settings import TrainingSettings

REPOSITORY = Path(__file__).parents[1]
SAVED_MODELS = REPOSITORY / "saved_models"
NAMES = sorted(file.parent.name for file in SAVED_MODELS.glob("*/model.keras"))
NUM_IMAGES = 200
NUM_SAMPLES = 200


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def vae(name):
    return runs.load_vae(SAVED_MODELS / name)


@pytest.fixture(scope="module")
def card(name):
    return (SAVED_MODELS / name / "card" / "README.md").read_text()


def stated(card, quantity):
    found = re.search(rf"\| {quantity} \| (\S+) ± (\S+) \|", card)
    return float(found.group(1)), float(found.group(2))


@pytest.fixture(scope="module")
def images(name, request):
    """The held-out images, sampled as for the card."""
    settings = runs.settings_beside(SAVED_MODELS / name)
    fixture = "digits_data_dir" if settings.dataset == "digits" else "shared_data_dir"
    data_dir = request.getfixturevalue(fixture)
    settings = TrainingSettings(
        dataset=settings.dataset, binarization=settings.binarization, data_dir=str(data_dir)
    )
    batches = splits.load_split(settings, "test", batch_size=500, shuffle=False)
    return np.concatenate(list(batches.as_numpy_iterator()))


def test_the_served_model_is_that_of_the_file(name, vae):
    newest = max(SAVED_MODELS.glob(f"{name}/[0-9]*"), key=lambda folder: int(folder.name))
    served = tf.saved_model.load(newest).signatures
    images = vae.sample(8, seed=0)
    posterior = served["encode"](images=images)
    np.testing.assert_allclose(posterior["mean"], vae.encode(images).mean(), atol=1e-5)
    decoded = served["decode"](latents=posterior["mean"])
    np.testing.assert_allclose(decoded["probabilities"], vae.predict(images), atol=1e-4)


def test_the_elbo_of_all_held_out_images_is_that_of_the_card(vae, card, images):
    draws = np.array(
        [
            np.concatenate([vae.elbo(batch, seed=seed) for batch in np.split(images, cuts(images))])
            for seed in (1, 2)
        ]
    )
    # Of the same images, so that only the noise of the latents is left, here and in the card.
    error = np.std(draws[0] - draws[1]) / np.sqrt(len(images))
    assert draws[0].mean() == pytest.approx(stated(card, "elbo")[0], abs=4 * error)


def test_posterior_gaps_of_some_held_out_images_fit_the_card(vae, card, images):
    images = images[:NUM_IMAGES]
    values = likelihood.log_likelihood(vae, images, num_samples=NUM_SAMPLES, seed=1)
    # The gap varies far less from image to image than log p(x) itself.
    gaps = values - vae.elbo(images, num_samples=16, seed=1)
    error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    # Fewer samples than those of the card give a lower estimate.
    expected, bias = stated(card, "posterior_gap")[0], 0.5
    assert expected - bias - 4 * error < np.mean(gaps) < expected + 4 * error
    gap_of_means = stated(card, "log_likelihood")[0] - stated(card, "elbo")[0]
    assert gap_of_means == pytest.approx(expected, abs=0.011)  # As they are rounded.


def cuts(images):
    return range(500, len(images), 500)


def test_the_cards_have_all_that_users_ask_for(name, card):
    for heading in ("Data", "Numbers", "Command", "Training", "Intended use", "Versions"):
        assert f"## {heading}" in card
    settings = runs.settings_beside(SAVED_MODELS / name)
    start = f" from `{settings.initial_model}` on," if settings.initial_model else ""
    assert re.search(rf"^Seed \d+;{start} \d+ epochs", card, re.MULTILINE)
    assert ("doubly reparameterized" in card) == (settings.gradient_estimator != "reparameterized")
    assert ("resampled" in card) == (settings.num_resampled is not None)
    for quantity in ("elbo", "log_likelihood"):
        assert stated(card, quantity)[1] > 0
    assert re.search(r"\| effective_sample_size_median \| \d", card)
    assert ("weighted by their importance" in card) == (settings.objective == "iwae")


def test_the_readme_and_the_recipe_have_the_number_of_the_card(name, card):
    value, error = stated(card, "log_likelihood")
    lines = (REPOSITORY / "README.md").read_text("utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| [`{name}`](")]
    decimals = 1 if error > 1 else 2
    assert f"| {-value:.{decimals}f} ± {error:.{decimals}f} " in row
    settings = runs.settings_beside(SAVED_MODELS / name)
    if settings.recipe is not None:
        assert f"| `{settings.recipe}` |" in row
        recipe = recipes.load(settings.recipe)
        ours = {result.seed: result.negative_log_likelihood for result in recipe.ours}
        assert ours[settings.seed] == pytest.approx(-value, abs=0.006)
        assert settings == TrainingSettings.merged(recipe=settings.recipe, seed=settings.seed)


def test_what_lies_here_is_small():
    def size(folder):
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    assert max(size(SAVED_MODELS / name) for name in NAMES) < 10e6
    assert size(SAVED_MODELS) < 40e6
