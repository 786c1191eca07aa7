import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfvae.common import files
from tfvae.common.errors import InputError
from tfvae.training import publishing, recipes, runs
from tfvae.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def published(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models") / "small"
    return folder, publishing.publish(tiny_run.folder, folder)


@pytest.fixture
def run_folder(tiny_run, tmp_path, monkeypatch):
    """A copy of the run, which is published without a served version."""
    monkeypatch.setattr(publishing, "export_saved_model", lambda vae, folder: None)
    return shutil.copytree(tiny_run.folder, tmp_path / "run")


def test_the_published_model_is_that_of_the_run_without_its_optimizer(tiny_run, published):
    folder, _ = published
    vae = runs.load_vae(folder)
    assert not vae.compiled
    images = tiny_run.vae.sample(5, seed=0)
    np.testing.assert_array_equal(vae.predict(images), tiny_run.vae.predict(images))
    served = tf.saved_model.load(folder / "1").signatures["encode"](images=images)
    np.testing.assert_allclose(served["mean"], vae.encode(images).mean(), atol=1e-5)
    size = (folder / runs.MODEL).stat().st_size
    assert size < 0.6 * (tiny_run.folder / runs.MODEL).stat().st_size


def test_the_settings_lead_to_the_data_but_to_no_machine(published):
    settings = runs.settings_beside(published[0])
    assert (settings.dataset, settings.latent_dim, settings.data_dir) == ("digits", 2, None)


def test_the_card_says_what_was_measured_and_how(tiny_run, published):
    folder, card = published
    text = card.read_text()
    for name in ("elbo", "log_likelihood"):
        value, error = re.search(rf"\| {name} \| (\S+) ± (\S+) \|", text).groups()
        assert float(value) == pytest.approx(tiny_run.results[name], rel=1e-4)
        assert float(error) == pytest.approx(tiny_run.results[f"{name}_stderr"], rel=0.05)
    assert "1,437 images to train on, 180 to choose the epoch, 180 held out" in text
    assert "## Intended use and limits" in text
    assert "](samples.png)" in text
    assert (folder / "card" / "samples.png").is_file()
    assert "tfvae train --latent-dim 2 --epochs 4 --seed 3 --batch-size 200 --hidden" in text
    assert str(folder.parent) not in text


def test_the_card_of_a_run_that_was_judged_on_other_images_has_numbers_of_test(
    tiny_run, run_folder, tmp_path
):
    results = {**tiny_run.results, "elbo": -1.0, "log_likelihood": -1.0}
    results["settings"] = {**results["settings"], "split": "validation"}
    (run_folder / runs.RESULTS).write_text(json.dumps(results))
    text = publishing.publish(run_folder, tmp_path / "model").read_text()
    for name in ("elbo", "log_likelihood"):
        stated = float(re.search(rf"\| {name} \| (\S+) ", text).group(1))
        assert stated == pytest.approx(tiny_run.results[name], rel=1e-4)
    assert f"in {results['seconds']:,.0f} seconds; the weights are those of epoch" in text


def test_a_model_or_card_that_is_there_stays(run_folder, tmp_path):
    card = publishing.publish(run_folder, tmp_path / "model")
    for file in (tmp_path / "model" / runs.MODEL, card):
        with pytest.raises(InputError, match=rf"{file.name} exists: choose another, or give"):
            publishing.publish(run_folder, tmp_path / "model")
        publishing.publish(run_folder, tmp_path / "model", overwrite=True)
        (tmp_path / "model" / runs.MODEL).unlink()


def test_a_run_that_has_not_ended_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*--resume"):
        publishing.publish(tmp_path, tmp_path / "model")


def test_the_command_of_a_recipe_is_short():
    settings = TrainingSettings.merged(recipe="burda2015-iwae", seed=1, data_dir="/data")
    assert publishing.command_of(settings) == "tfvae train --recipe burda2015-iwae --seed 1"
    command = publishing.command_of(settings.replace(num_importance_samples=50))
    assert command.endswith("--seed 1 --num-importance-samples 50")
    settings = TrainingSettings(network="resnet", filters=[8, 9], batch_normalization=True)
    expected = "tfvae train --network resnet --filters 8 9 --batch-normalization"
    assert publishing.command_of(settings) == expected


def test_the_command_takes_away_what_only_the_recipe_has(monkeypatch):
    recipe = "pythae-vae-two-layers"
    settings = TrainingSettings.merged(recipe=recipe, weight_decay="none", epochs=300)
    expected = f"tfvae train --recipe {recipe} --epochs 300 --weight-decay none"
    assert publishing.command_of(settings) == expected
    # Also what the recipe has later than the settings.
    settings = TrainingSettings.merged(recipe="pythae-vae")
    later = {"num_validation_images": 10, "network": "resnet", "batch_normalization": True}
    recipe = recipes.load("pythae-vae")
    changed = recipe.replace(settings=recipe.settings | later)
    monkeypatch.setattr(recipes, "load", lambda name: changed)
    assert publishing.command_of(settings) == (
        "tfvae train --recipe pythae-vae --network mlp --num-validation-images none "
        "--no-batch-normalization"
    )


def test_the_path_of_the_first_model_stays_here(run_folder, tmp_path):
    settings = runs.settings_beside(run_folder).replace(initial_model=str(tmp_path))
    (run_folder / runs.SETTINGS).write_text(settings.to_json())
    text = publishing.publish(run_folder, tmp_path / "model").read_text()
    assert "Seed 3; from `INITIAL_MODEL` on, 4 epochs" in text
    assert "--initial-model INITIAL_MODEL --beta" in text
    assert str(tmp_path) not in text + (tmp_path / "model" / runs.SETTINGS).read_text()


def test_a_run_is_not_published_over_itself(run_folder):
    with pytest.raises(InputError, match="is the run itself: publish it into another folder"):
        publishing.publish(run_folder, run_folder / "." / "backup" / "..", overwrite=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"num_importance_samples": 3}'])
def test_damaged_results_are_named_and_nothing_is_published(text, run_folder, tmp_path):
    (run_folder / runs.RESULTS).write_text(text)
    with pytest.raises(InputError, match=r"results.json is damaged"):
        publishing.publish(run_folder, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("moment", ["settings.json", "samples.png", "README.md"])
def test_a_card_is_never_beside_another_model(moment, run_folder, tmp_path, monkeypatch):
    """Killed at whatever moment, a second publication has its own card or none."""
    folder = tmp_path / "model"
    card = publishing.publish(run_folder, folder)
    write = publishing.atomic_write

    def killed_at(path):
        if path.name == moment:
            raise KeyboardInterrupt
        return write(path)

    monkeypatch.setattr(publishing, "atomic_write", killed_at)
    monkeypatch.setattr(publishing, "write_text", lambda file, text: killed_at(file))
    with pytest.raises(KeyboardInterrupt):
        publishing.publish(run_folder, folder, overwrite=True)
    assert not card.exists()
    monkeypatch.undo()
    monkeypatch.setattr(publishing, "export_saved_model", lambda vae, folder: None)
    assert publishing.publish(run_folder, folder, overwrite=True) == card
    assert not list(folder.glob(".*"))


def test_one_process_publishes_at_a_time(run_folder, tmp_path):
    for folder, what in (
        (tmp_path / "model" / "card", "another process publishes"),
        (run_folder, "trains"),
    ):
        with (
            files.locked(folder, "here"),
            pytest.raises(InputError, match=what),
        ):
            publishing.publish(run_folder, tmp_path / "model")


def test_a_version_that_another_export_is_writing_stays(run_folder, tmp_path):
    folder = tmp_path / "small"
    version, model = folder / ".7.abcdefgh.tfvae", folder / ".model.keras.abcdefgh.tfvae"
    for half_written in (version, model):
        half_written.mkdir(parents=True)
    publishing.publish(run_folder, folder)
    assert version.is_dir()
    assert not model.exists()
