import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from synthetic import SyntheticGray

from tfvae.common.errors import InputError
from tfvae.training import job as training
from tfvae.training import publishing, recipes, runs
from tfvae.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def run(digits_data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = TrainingSettings(
        data_dir=str(digits_data_dir), latent_dim=2, hidden=[16], epochs=2, seed=3
    )
    return training.train(settings, folder, num_importance_samples=10, say=lambda line: None)


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "small"
    return folder, publishing.publish(run.folder, folder)


def test_the_published_model_is_that_of_the_run_without_its_optimizer(run, published):
    folder, _ = published
    vae = runs.load_vae(folder)
    assert not vae.compiled
    images = run.vae.sample(5, seed=0)
    np.testing.assert_array_equal(vae.predict(images), run.vae.predict(images))
    served = tf.saved_model.load(folder / "1").signatures["encode"](images=images)
    np.testing.assert_allclose(served["mean"], vae.encode(images).mean(), atol=1e-5)
    size = (folder / runs.MODEL).stat().st_size
    assert size < 0.6 * (run.folder / runs.MODEL).stat().st_size


def test_the_settings_lead_to_the_data_but_to_no_machine(run, published):
    settings = runs.settings_beside(published[0])
    assert (settings.dataset, settings.latent_dim, settings.data_dir) == ("digits", 2, None)


def test_the_card_says_what_was_measured_and_how(run, published):
    folder, card = published
    text = card.read_text()
    for name in ("elbo", "log_likelihood"):
        value, error = re.search(rf"\| {name} \| (\S+) ± (\S+) \|", text).groups()
        assert float(value) == pytest.approx(run.results[name], rel=1e-4)
        assert float(error) == pytest.approx(run.results[f"{name}_stderr"], rel=0.05)
    assert "1,437 images to train on, 180 to choose the epoch, 180 held out" in text
    assert "Seed 3; 2 epochs of 128 images a step on the ELBO" in text
    assert "## Intended use and limits" in text
    assert "](samples.png)" in text
    assert (folder / "card" / "samples.png").is_file()
    assert "tfvae train --latent-dim 2 --hidden 16 --epochs 2 --patience 10 --seed 3" in text
    assert str(folder.parent) not in text


def test_the_card_of_a_run_that_was_judged_on_other_images_has_numbers_of_test(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    results = {**run.results, "elbo": -1.0, "log_likelihood": -1.0}
    results["settings"] = {**results["settings"], "split": "validation"}
    (folder / runs.RESULTS).write_text(json.dumps(results))
    text = publishing.publish(folder, tmp_path / "model").read_text()
    for name in ("elbo", "log_likelihood"):
        stated = float(re.search(rf"\| {name} \| (\S+) ", text).group(1))
        assert stated == pytest.approx(run.results[name], rel=1e-4)
    assert f"in {run.results['seconds']:,.0f} seconds; the weights are those of epoch" in text


def test_a_model_that_is_there_stays(run, published):
    folder, _ = published
    with pytest.raises(InputError, match="is there already: give --overwrite"):
        publishing.publish(run.folder, folder)
    publishing.publish(run.folder, folder, overwrite=True)
    assert (folder / "2" / "saved_model.pb").is_file()


def test_a_run_that_has_not_ended_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*--resume"):
        publishing.publish(tmp_path, tmp_path / "model")


def test_the_command_of_a_recipe_is_short():
    settings = TrainingSettings.merged(recipe="burda2015-iwae", seed=1, data_dir="/data")
    assert publishing.command_of(settings, 5000) == "tfvae train --recipe burda2015-iwae --seed 1"
    assert publishing.command_of(settings, 50).endswith("--seed 1 --num-importance-samples 50")
    settings = TrainingSettings(network="resnet", filters=[8, 9], batch_normalization=True)
    expected = "tfvae train --network resnet --filters 8 9 --batch-normalization"
    assert publishing.command_of(settings, 500) == expected


def test_the_command_takes_away_what_only_the_recipe_has():
    recipe = "pythae-vae-two-layers"
    settings = TrainingSettings.merged(recipe=recipe, weight_decay="none", epochs=300)
    expected = f"tfvae train --recipe {recipe} --weight-decay none --epochs 300"
    assert publishing.command_of(settings, 5000) == expected


def test_the_command_leaves_out_a_recipe_that_has_more_by_now(monkeypatch):
    settings = TrainingSettings.merged(recipe="pythae-vae")
    recipe = recipes.load("pythae-vae")
    for later in (
        {"num_validation_images": 10},
        {"network": "resnet", "batch_normalization": True},
    ):
        changed = recipe.replace(settings=recipe.settings | later)
        with monkeypatch.context() as patch:
            patch.setattr(recipes, "load", lambda name, changed=changed: changed)
            command = publishing.command_of(settings, 5000)
        assert command.startswith("tfvae train --dataset binarized_mnist --binarization none ")
        assert command.endswith(" --num-importance-samples 5000")
        assert "batch-normalization" not in command


def test_the_path_of_the_first_model_stays_here(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    settings = runs.settings_beside(folder).replace(initial_model=str(tmp_path))
    (folder / runs.SETTINGS).write_text(settings.to_json())
    text = publishing.publish(folder, tmp_path / "model").read_text()
    assert "Seed 3; from `INITIAL_MODEL` on, 2 epochs" in text
    assert "--initial-model INITIAL_MODEL --epochs 2" in text
    assert str(tmp_path) not in text + (tmp_path / "model" / runs.SETTINGS).read_text()


def test_the_card_counts_the_images_of_the_settings(tmp_path):
    settings = TrainingSettings(dataset=SyntheticGray.name, data_dir=str(tmp_path))
    fewer = settings.replace(num_validation_images=2)
    assert "45 images to train on, 5 to choose the epoch, 20 held" in publishing._data(settings)
    assert "48 images to train on, 2 to choose the epoch, 20 held" in publishing._data(fewer)


def test_the_card_of_a_recipe_names_the_paper(run):
    settings = TrainingSettings.merged(recipe="burda2015-iwae", seed=1, data_dir="/data")
    text = publishing._training(settings, run.results)
    assert "Seed 1; from `mnist-vae` on, 2 epochs of 100 images a step" in text
    assert "the importance-weighted bound of 50 samples with the doubly reparameterized" in text
    assert "(arXiv:1810.04152), its gradient through 5 resampled ones alone, in" in text
    assert "Published: -log p(x) of 84.78 nats (Burda, Grosse, Salakhutdinov." in text
    assert "arXiv:1509.00519" in text
    settings = TrainingSettings.merged(recipe="burda2015-vae")
    text = publishing._training(settings, run.results)
    assert "Seed 0; 2 epochs of 100 images a step on the ELBO, in" in text
    assert "Published: -log p(x) of 86.76 nats" in text


def test_the_card_does_not_lend_a_published_number_to_another_model(run):
    settings = TrainingSettings.merged(
        recipe="burda2015-vae", dataset="fashion_mnist", hidden=[16], num_validation_images=2000
    )
    text = publishing._training(settings, run.results)
    assert "but with other settings (dataset, hidden): its published number is not" in text
    assert "86.76" not in text


def test_the_card_says_what_the_samples_of_an_iwae_are_for(run):
    settings = TrainingSettings.merged(recipe="burda2015-iwae")
    assert "trained for 50 samples an image, weighted" in publishing._limits(settings, run.vae)
    settings = TrainingSettings.merged(recipe="burda2015-vae")
    assert "weighted" not in publishing._limits(settings, run.vae)
