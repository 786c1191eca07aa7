import json

import keras
import numpy as np
import pytest

from tfvae import runs, training
from tfvae.errors import InputError
from tfvae.settings import TrainingSettings


@pytest.fixture(scope="module")
def run(digits_data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = TrainingSettings(
        data_dir=str(digits_data_dir), latent_dim=3, epochs=4, warmup_epochs=2, beta=0.5
    )
    said = []
    run = training.train(settings, folder, num_importance_samples=20, say=said.append)
    return run, said


def test_everything_is_written(run):
    run, said = run
    assert {path.name for path in run.folder.iterdir()} == {
        "model.keras",
        "history.csv",
        "settings.json",
        "results.json",
        "saved_model",
        *(file.name for file in run.figures),
    }
    assert {file.stem for file in run.figures} == {
        "samples",
        "reconstructions",
        "kl_per_dimension",
        "training_curves",
        "latent_traversals",
    }
    assert (run.saved_model / "saved_model.pb").is_file()
    assert "1,437 images to train on, 180 to validate, 180 held out" in said[0]
    assert str(run.folder / "model.keras") in said[-1]


def test_history_holds_every_epoch_with_the_warm_up(run):
    history = runs.read_history(run[0].folder / runs.HISTORY)
    assert history["epoch"] == [1, 2, 3, 4]
    assert history["beta"][-2:] == [0.5, 0.5]
    assert history["beta"][0] < history["beta"][1] <= 0.5
    assert history["elbo"][-1] > history["elbo"][0]
    for epoch in (2, 3):  # From there on, beta is the same in every step of the epoch.
        loss = 0.5 * history["kl"][epoch] - history["reconstruction"][epoch]
        assert history["loss"][epoch] == pytest.approx(loss, rel=1e-5)


def test_the_weights_are_those_of_the_best_epoch(run):
    run, _ = run
    history = runs.read_history(run.folder / runs.HISTORY)
    best = run.results["best_epoch"]
    compared = history["val_elbo"][2:]  # Not during the warm-up.
    assert best == 3 + int(np.argmax(compared))
    vae = runs.load_vae(run.folder)
    validation = training.load_split(run_settings(run), "validation")
    elbo = vae.evaluate(validation, verbose=0, return_dict=True)["elbo"]
    assert elbo == pytest.approx(history["val_elbo"][best - 1], abs=3.0)


def run_settings(run):
    return runs.settings_beside(run.folder)


def test_results_are_those_of_the_saved_model_on_held_out_images(run):
    run, _ = run
    results = json.loads((run.folder / runs.RESULTS).read_text())
    assert results == run.results
    assert results["settings"]["split"] == "test"
    assert results["num_images"] == 180
    assert results["epochs"] == 4
    assert results["seconds"] > 0
    again = training.evaluate(
        runs.load_vae(run.folder), run_settings(run), split="test", num_importance_samples=20
    )
    for name in ("elbo", "log_likelihood", "kl", "posterior_gap"):
        assert again[name] == pytest.approx(results[name], rel=1e-6)
    assert results["elbo"] < results["log_likelihood"]


def test_runs_repeat_with_their_seed(run, digits_data_dir, tmp_path):
    folder = tmp_path / "again"
    folder.mkdir()
    again = training.train(
        run_settings(run[0]), folder, num_importance_samples=20, say=lambda line: None
    )
    for name in ("elbo", "log_likelihood", "kl"):
        assert again.results[name] == pytest.approx(run[0].results[name], rel=1e-5)


def test_epochs_and_patience_follow_the_size_of_the_data():
    defaults = TrainingSettings()
    resolved = training.with_epochs(defaults, steps_per_epoch=12)
    assert (resolved.epochs, resolved.patience) == (200, 20)
    assert training.with_epochs(defaults, steps_per_epoch=422).epochs == 95
    assert training.with_epochs(defaults, steps_per_epoch=10_000).epochs == 50
    given = TrainingSettings(epochs=7, patience=2)
    assert training.with_epochs(given, steps_per_epoch=12) == given


def test_images_to_evaluate_on_are_sampled_once(digits_data_dir):
    settings = TrainingSettings(data_dir=str(digits_data_dir))
    for split, same in (("train", False), ("validation", True), ("test", True)):
        data = training.load_split(settings, split, shuffle=False)
        first, second = next(iter(data)), next(iter(data))
        assert bool((first.numpy() == second.numpy()).all()) == same


def test_learning_rate_falls_along_a_cosine_to_zero():
    settings = TrainingSettings(epochs=10, learning_rate=0.5)
    vae = training.build_vae(settings, (6, 5, 1))
    training.compile_vae(vae, settings, steps_per_epoch=3)
    assert isinstance(vae.optimizer, keras.optimizers.Adam)
    rates = []
    for step in (0, 15, 30):
        vae.optimizer.iterations.assign(step)
        rates.append(float(vae.optimizer.learning_rate))
    assert rates == pytest.approx([0.5, 0.25, 0.0], abs=1e-6)


def test_a_data_set_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no_such_data"):
        training.train(TrainingSettings(dataset="no_such_data"), tmp_path)
    assert not any(tmp_path.iterdir())
