import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae import objectives
from tfvae.common.errors import InputError
from tfvae.training import initialization, pretrained, recipes
from tfvae.training import job as training
from tfvae.training.settings import TrainingSettings

REPOSITORY = Path(__file__).parents[2]

PUBLISHED = {
    "burda2015-vae": ("1509.00519", 86.76),
    "burda2015-iwae": ("1509.00519", 84.78),
    "tomczak2018-vae": ("1705.07120", 84.50),
    "tomczak2018-vae-static": ("1705.07120", 88.56),
    "pythae-vae": ("2206.08309", 89.78),
    "pythae-vae-two-layers": ("2206.08309", 89.78),
    "kingma2016-resnet-vae": ("1606.04934", 81.08),
}
WITH_ONE_SEED = ("pythae-vae", "pythae-vae-two-layers", "kingma2016-resnet-vae")


def test_recipes_are_those_of_the_literature():
    found = {name: recipes.load(name).paper for name in recipes.names()}
    numbers = {name: (paper.arxiv, paper.negative_log_likelihood) for name, paper in found.items()}
    assert numbers == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_of_ours_are_possible(name):
    recipe = recipes.load(name)
    assert recipe.num_importance_samples == 5000
    seeds = {result.seed for result in recipe.ours}
    assert len(seeds) == len(recipe.ours) >= (1 if name in WITH_ONE_SEED else 2)
    for result in recipe.ours:
        assert 70 < result.negative_log_likelihood < 100
        assert 0 < result.standard_error < 1
        assert result.seconds > 0
        assert isinstance(result.date, datetime.date)


def cells_of(page, first):
    """The cells of the one row of a table whose first or second cell is the given one."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (REPOSITORY / page).read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    (row,) = [row for row in rows if first in row[:2]]
    return row


def check_numbers(recipe, published, here, results):
    """Whether cells have the published number and those of some results, and what they are from."""
    paper = recipe.paper
    assert re.match(rf"{paper.negative_log_likelihood:.2f}( |$)", published)
    if "(the same)" not in published:
        assert ("from memory" in published) == (not paper.is_checked)
    numbers = [
        f"{result.negative_log_likelihood:.2f} ± {result.standard_error:.2f}" for result in results
    ]
    assert re.findall(r"\d+\.\d+ ± \d+\.\d+", here) == numbers
    # Where the published number is from other samples than ours, both are there, from the same.
    (count,) = re.findall(r"([\d,]+) samples", paper.estimator)
    for result, number in zip(results, numbers, strict=True):
        own = result.num_importance_samples or recipe.num_importance_samples
        assert (result.as_published is not None) == (count != f"{own:,}")
        if result.as_published is not None:
            assert f"{count} samples" in published or "(the same)" in published
            assert f"{result.as_published:.2f} ({count} samples)" in here
        is_usual = own == recipe.num_importance_samples
        assert is_usual or f"{number} ({own} samples)" in here


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_guide_has_the_numbers_of_the_recipe(name):
    recipe = recipes.load(name)
    _, data, published, here, seeds, minutes = cells_of(
        "tfvae/training/recipes/README.md", f"[`{name}`]({name}.toml)"
    )
    is_static = recipe.settings["dataset"] == "binarized_mnist"
    assert data.startswith("static" if is_static else "dynamic")
    check_numbers(recipe, published, here, recipe.ours)
    assert seeds == ", ".join(str(result.seed) for result in recipe.ours)
    assert minutes.startswith(", ".join(f"{result.seconds / 60:.0f}" for result in recipe.ours))
    assert all(result.num_cores == 1 for result in recipe.ours)  # As the guide says of all.


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_readme_has_the_first_number_of_the_recipe(name):
    recipe = recipes.load(name)
    _, _, published, here = cells_of("README.md", f"`{name}`")
    check_numbers(recipe, published, here, recipe.ours[:1])
    assert recipe.ours[0].seed == 0  # As the README says of all.


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if "resnet" in name else ()) for name in PUBLISHED],
)
def test_recipes_build_and_learn(name):
    tf.keras.utils.set_random_seed(0)
    settings = TrainingSettings.merged(recipe=name, epochs=1)
    vae = training.build_vae(settings, (28, 28, 1))
    # As many steps as are taken below, over which the learning rate falls to 0.
    training.compile_vae(vae, settings, steps_per_epoch=40)
    assert isinstance(vae.objective, objectives.IWAE if "iwae" in name else objectives.ELBO)
    images = np.random.default_rng(0).integers(0, 2, (4, 28, 28, 1)).astype(np.float32)
    history = vae.fit(np.repeat(images, 10, axis=0), batch_size=4, epochs=4, verbose=0).history
    # Four images, learned by heart: worth more than the noise of the latents, about 1 nat.
    assert history["loss"][-1] < history["loss"][0] - 100


def test_networks_are_those_of_the_papers():
    def shapes(name):
        vae = training.build_vae(TrainingSettings.merged(recipe=name), (28, 28, 1))
        return [
            tuple(weight.shape)
            for network in (vae.encoder, vae.decoder)
            for weight in network.weights
            if len(weight.shape) == 2
        ]

    burda = [(784, 200), (200, 200), (200, 100), (50, 200), (200, 200), (200, 784)]
    assert shapes("burda2015-vae") == shapes("burda2015-iwae") == burda
    # Of a gated layer, both parts lie in one matrix.
    gated = [(784, 600), (300, 600), (300, 80), (40, 600), (300, 600), (300, 784)]
    assert shapes("tomczak2018-vae") == shapes("tomczak2018-vae-static") == gated
    assert shapes("pythae-vae") == [(784, 400), (400, 80), (40, 400), (400, 784)]
    encoder, decoder = [(784, 400), (400, 400), (400, 80)], [(40, 400), (400, 400), (400, 784)]
    assert shapes("pythae-vae-two-layers") == encoder + decoder


def test_the_iwae_goes_on_from_the_vae():
    settings = TrainingSettings.merged(recipe="burda2015-iwae")
    vae = training.build_vae(settings, (28, 28, 1))
    initialization.initialize(vae, settings)
    vaes = [vae, pretrained.load_pretrained("mnist-vae")]
    for one, other in zip(*(vae.get_weights() for vae in vaes), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_name_that_is_not_known_is_told_the_nearest():
    with pytest.raises(InputError, match=r"no recipe 'burda2015vae': did you mean burda2015-vae\?"):
        recipes.load("burda2015vae")
    with pytest.raises(InputError, match=r"no recipe 'x': known are burda2015-iwae, burda2015-vae"):
        recipes.load("x")


def test_results_are_read(monkeypatch, tmp_path):
    text = (REPOSITORY / "tfvae" / "training" / "recipes" / "pythae-vae.toml").read_text()
    text += (
        "\n[[ours]]\nnegative_log_likelihood = 88.9\nstandard_error = 0.25\nseed = 1\n"
        "seconds = 1200.0\ndate = 2026-11-23\nnum_cores = 4\n"
    )
    (tmp_path / "mine.toml").write_text(text)
    earlier = list(recipes.load("pythae-vae").ours)
    monkeypatch.setattr(recipes.resources, "files", lambda package: tmp_path)
    assert recipes.names() == ["mine"]
    *before, result = recipes.load("mine").ours
    assert before == earlier
    assert (result.negative_log_likelihood, result.seed) == (88.9, 1)
    assert (result.date, result.num_cores) == (datetime.date(2026, 11, 23), 4)


def test_settings_go_over_the_recipe(tmp_path):
    settings = TrainingSettings.merged(recipe="burda2015-iwae", seed=3, epochs=7)
    assert (settings.recipe, settings.seed, settings.epochs) == ("burda2015-iwae", 3, 7)
    assert (settings.objective, settings.num_samples) == ("iwae", 50)
    assert settings.num_importance_samples == 5000
    assert TrainingSettings().num_importance_samples == 500
    # So also the settings that a run has written, which are all there.
    (tmp_path / "settings.json").write_text(settings.to_json())
    assert TrainingSettings.of_run(tmp_path / "settings.json") == settings
    (tmp_path / "mine.toml").write_text('recipe = "burda2015-iwae"\nnum_samples = 5\n')
    mine = TrainingSettings.merged(tmp_path / "mine.toml")
    expected = TrainingSettings.merged(recipe="burda2015-iwae")
    assert mine == expected.replace(num_samples=5)


def test_json_of_a_recipe_names_it():
    settings = TrainingSettings.merged(recipe="pythae-vae")
    assert json.loads(settings.to_json())["recipe"] == "pythae-vae"
