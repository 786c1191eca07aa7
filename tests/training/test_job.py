import json

import keras
import numpy as np
import pytest

from tfvae import load_pretrained, objectives
from tfvae.common.errors import InputError
from tfvae.fitting import optimizers
from tfvae.training import job as training
from tfvae.training import runs, splits
from tfvae.training.settings import TrainingSettings


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
    validation = splits.load_split(run_settings(run), "validation")
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


def test_numbers_and_figures_may_be_of_validation_images(
    small_settings, tmp_path, monkeypatch, capsys
):
    shown = {}
    monkeypatch.setattr(training, "save_figure", lambda figure, path: None)
    monkeypatch.setattr(
        training.plots, "reconstructions", lambda vae, images: shown.update(images=images)
    )
    settings = small_settings.replace(seed=1)
    written = []
    arguments = {
        "num_importance_samples": 5,
        "say": lambda line: written.append(runs.read_evaluation(tmp_path)),
    }
    results = training.train(settings, tmp_path, split="validation", **arguments).results
    # As long as it trains, for those who resume it.
    assert set(written) == {runs.Evaluation("validation", 5)}
    assert results["settings"]["split"] == "validation"
    vae = runs.load_vae(tmp_path)
    for split, is_same in (("validation", True), ("test", False)):
        elbo = training.evaluate(vae, settings, split=split, num_importance_samples=5)["elbo"]
        assert (elbo == pytest.approx(results["elbo"], rel=1e-6)) == is_same
        (images,) = splits.load_split(settings, split, batch_size=20, shuffle=False).take(1)
        assert np.array_equal(shown["images"], images) == is_same


def test_a_split_that_is_not_there_shows_before_the_training(small_settings, tmp_path):
    with pytest.raises(InputError, match="tset"):
        training.train(small_settings, tmp_path, split="tset")
    assert not any(tmp_path.glob("backup/*"))


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


def test_a_warm_up_leaves_an_epoch_to_choose():
    settings = TrainingSettings(warmup_epochs=3, epochs=4)
    assert training.with_epochs(settings, steps_per_epoch=12).epochs == 4
    for epochs, warmup_epochs in ((3, 3), (None, 50)):
        settings = TrainingSettings(warmup_epochs=warmup_epochs, epochs=epochs)
        with pytest.raises(InputError, match=f"warmup_epochs, {warmup_epochs}, must be fewer"):
            training.with_epochs(settings, steps_per_epoch=10_000)


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


def test_learning_rate_may_be_constant():
    settings = TrainingSettings(epochs=10, learning_rate=0.5, learning_rate_schedule="constant")
    assert training.learning_rate(settings, num_steps=30) == 0.5


def test_learning_rate_falls_in_the_stages_of_burda():
    settings = TrainingSettings(epochs=3280, learning_rate_schedule="piecewise")
    rate = training.learning_rate(settings, num_steps=3280 * 10)
    # 3^i passes over the data, of 10 steps each, at 0.001 * 10^(-i/7).
    for first, last, stage in ((0, 9, 0), (11, 39, 1), (41, 129, 2), (10_931, 32_799, 7)):
        for step in (first, last):
            assert float(rate(step)) == pytest.approx(1e-3 * 10 ** (-stage / 7), rel=1e-5)


def compiled(**given):
    settings = TrainingSettings(epochs=10, **given)
    vae = training.build_vae(settings, (6, 5, 1))
    training.compile_vae(vae, settings, steps_per_epoch=3)
    return vae


def test_the_objective_is_that_of_the_settings():
    objective = compiled(num_samples=3, beta=0.5, free_bits=0.1).objective
    assert isinstance(objective, objectives.ELBO)
    assert (objective.num_samples, objective.beta, objective.free_bits) == (3, 0.5, 0.1)
    objective = compiled(objective="iwae", num_samples=7).objective
    assert isinstance(objective, objectives.IWAE)
    assert (objective.num_samples, objective.gradient_estimator) == (7, "reparameterized")
    assert objective.num_resampled is None
    objective = compiled(
        objective="iwae",
        gradient_estimator="doubly_reparameterized",
        num_samples=7,
        num_resampled=3,
    ).objective
    assert (objective.gradient_estimator, objective.num_resampled) == ("doubly_reparameterized", 3)


def test_the_optimizer_is_that_of_the_settings():
    plain = compiled().optimizer
    assert not plain.use_ema
    assert plain.global_clipnorm is None
    assert plain.weight_decay is None
    optimizer = compiled(average_weights=0.9, gradient_clipping=2.0).optimizer
    assert (optimizer.use_ema, optimizer.ema_momentum, optimizer.global_clipnorm) == (True, 0.9, 2)
    optimizer = compiled(weight_decay=0.5, gradient_clipping=2.0).optimizer
    assert isinstance(optimizer, optimizers.AdamW)
    assert (optimizer.weight_decay, optimizer.global_clipnorm, optimizer.use_ema) == (0.5, 2, False)


def test_gradient_clipping_bounds_the_step_of_what_is_clipped():
    images = np.ones((8, 6, 5, 1), np.float32)
    moments = []
    for clipping in (None, 1e-3):
        vae = compiled(gradient_clipping=clipping)
        vae.fit(images, verbose=0)
        moments.append(np.sqrt(sum(float(np.sum(m**2)) for m in vae.optimizer._momentums)))
    # Adam's first moment is a tenth of the first gradient.
    assert moments[0] > 1e-2
    assert moments[1] == pytest.approx(1e-4, rel=1e-3)


def test_the_networks_are_those_of_the_settings():
    settings = TrainingSettings(
        network="resnet",
        filters=[3, 4],
        blocks=1,
        hidden=[5],
        batch_normalization=True,
        activation="tanh",
    )
    encoder = training.build_vae(settings, (6, 5, 1)).encoder
    assert [encoder.get_layer(name).filters for name in ("down_0", "down_1")] == [3, 4]
    assert encoder.get_layer("hidden_0").units == 5
    assert encoder.get_layer("hidden_0").activation is keras.activations.tanh
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in encoder.layers)
    assert not any(layer.name.startswith("stage_0_1") for layer in encoder.layers)


def test_the_bound_that_is_trained_chooses_the_epoch(
    digits_data_dir, tmp_path, capsys, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        training, "save_figure", lambda figure, path: drawn.append((path.stem, figure))
    )
    settings = TrainingSettings(
        data_dir=str(digits_data_dir),
        latent_dim=2,
        hidden=[16],
        objective="iwae",
        num_samples=4,
        average_weights=0.9,
        learning_rate_schedule="constant",
        epochs=3,
    )
    run = training.train(settings, tmp_path, num_importance_samples=10, say=lambda line: None)
    history = runs.read_history(tmp_path / runs.HISTORY)
    assert run.results["best_epoch"] == 1 + int(np.argmin(history["val_loss"]))
    # The bound of four samples is above the ELBO.
    assert history["val_loss"][-1] < -history["val_elbo"][-1]
    assert runs.load_vae(tmp_path).objective.num_samples == 4
    shown = capsys.readouterr().err
    last = {name: history[name][-1] for name in ("loss", "val_loss")}
    assert f"loss {last['loss']:.2f}  val_loss {last['val_loss']:.2f}" in shown
    (axes, *_) = dict(drawn)["training_curves"].axes
    assert axes.get_title(loc="left") == "objective"


@pytest.fixture(scope="module")
def small_settings(digits_data_dir):
    return TrainingSettings(data_dir=str(digits_data_dir), latent_dim=2, hidden=[16], epochs=1)


def test_training_starts_from_the_mean_of_the_data(small_settings):
    vae = training.build_vae(small_settings, (28, 28, 1))
    training.initialize(vae, small_settings)
    assert not vae.decoder.get_layer("pixels").bias.numpy().any()
    settings = small_settings.replace(decoder_bias="data_mean")
    training.initialize(vae, settings)
    images = np.concatenate(
        list(splits.load_split(settings, "train", binarization="none").as_numpy_iterator())
    )
    bias = vae.decoder.get_layer("pixels").bias.numpy()
    expected = np.clip(images.mean(axis=0), 0.001, 0.999).ravel()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), expected, rtol=1e-3)


def test_training_starts_from_another_model(small_settings, run, tmp_path):
    source = training.build_vae(small_settings, (28, 28, 1))
    source.save(tmp_path / runs.MODEL)
    vae = training.build_vae(small_settings, (28, 28, 1))
    for place in (tmp_path, tmp_path / runs.MODEL):
        settings = small_settings.replace(initial_model=str(place))
        training.initialize(vae, settings)
        np.testing.assert_array_equal(vae.decoder.get_weights()[0], source.decoder.get_weights()[0])
    settings = small_settings.replace(initial_model=str(run[0].folder))
    with pytest.raises(InputError, match="initial model must have the networks of the settings"):
        training.initialize(vae, settings)
    settings = TrainingSettings(hidden=[256, 256], initial_model="digits")
    vae = training.build_vae(settings, (28, 28, 1))
    training.initialize(vae, settings)
    np.testing.assert_array_equal(
        vae.encoder.get_weights()[0], load_pretrained("digits").encoder.get_weights()[0]
    )


def test_a_data_set_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no_such_data"):
        training.train(TrainingSettings(dataset="no_such_data"), tmp_path)
    assert not any(tmp_path.iterdir())
