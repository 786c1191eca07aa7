import functools
import io
import json

import keras
import numpy as np
import pytest
from rich.console import Console

from tfvae import objectives
from tfvae.common.errors import InputError
from tfvae.fitting import optimizers
from tfvae.fitting.progress import Progress
from tfvae.training import job, runs, splits
from tfvae.training.settings import TrainingSettings


def test_everything_is_written(tiny_run, tiny_run_lines):
    assert {path.name for path in tiny_run.folder.iterdir()} - {".lock"} == {
        "model.keras",
        "history.csv",
        "run.json",
        "settings.json",
        "results.json",
        "backup",
        "saved_model",
        "tensorboard",
        *(file.name for file in tiny_run.figures),
    }
    assert {file.stem for file in tiny_run.figures} == {
        "samples",
        "reconstructions",
        "kl_per_dimension",
        "training_curves",
        "latent_plane",
    }
    assert (tiny_run.saved_model / "saved_model.pb").is_file()
    data, model, training = tiny_run_lines
    assert "1,437 images to train on, 180 to validate, 180 held out; 28x28x1, dynamic" in data
    assert model.startswith("mlp network, 2 latents, ")
    assert model.endswith(" parameters; up to 4 epochs")
    assert training.startswith("Trained 4 epochs in ")
    assert str(tiny_run.folder / runs.MODEL) in training


def test_history_holds_every_epoch_with_the_warm_up(tiny_run):
    history = runs.read_history(tiny_run.folder / runs.HISTORY)
    assert history["epoch"] == [1, 2, 3, 4]
    assert history["beta"][-2:] == [0.5, 0.5]
    assert history["beta"][0] < history["beta"][1] <= 0.5
    assert history["elbo"][-1] > history["elbo"][0]
    for epoch in (2, 3):  # From there on, beta is the same in every step of the epoch.
        loss = 0.5 * history["kl"][epoch] - history["reconstruction"][epoch]
        assert history["loss"][epoch] == pytest.approx(loss, rel=1e-5)


def test_the_weights_are_those_of_the_best_epoch(tiny_run):
    history = runs.read_history(tiny_run.folder / runs.HISTORY)
    best = tiny_run.results["best_epoch"]
    compared = history["val_elbo"][2:]  # Not during the warm-up.
    assert best == 3 + int(np.argmax(compared))
    validation = splits.load_split(runs.settings_beside(tiny_run.folder), "validation")
    elbo = tiny_run.vae.evaluate(validation, verbose=0, return_dict=True)["elbo"]
    assert elbo == pytest.approx(history["val_elbo"][best - 1], abs=3.0)


def test_results_are_those_of_the_saved_model_on_held_out_images(tiny_run):
    results = json.loads((tiny_run.folder / runs.RESULTS).read_text())
    assert results == json.loads(json.dumps(tiny_run.results))
    assert results["settings"]["split"] == "test"
    assert results["num_images"] == 180
    assert results["epochs"] == 4
    assert results["seconds"] > 0
    vae, settings = runs.load_vae(tiny_run.folder), runs.settings_beside(tiny_run.folder)
    again = job.evaluate(vae, settings)
    for name in ("elbo", "log_likelihood", "kl", "posterior_gap"):
        assert again[name] == pytest.approx(results[name], rel=1e-6)
    assert results["elbo"] < results["log_likelihood"]


def numbers_of_an_evaluation(**others):
    names = ("elbo", "reconstruction", "kl", "log_likelihood", "posterior_gap", "bits_per_dim")
    numbers = {name: float(place) for place, name in enumerate(names)}
    numbers |= {f"{name}_stderr": 0.125 for name in names}
    return numbers | {
        "num_images": 10_000,
        "num_importance_samples": 5000,
        "effective_sample_size_median": 81.4,
        "effective_sample_size_min": 1.4,
        "active_units": 7,
        "kl_per_dimension": [0.0] * 28 + [0.1, 0.11, 2.0, 3.0],
        "settings": {"dataset": "mnist", "split": "test"},
        **others,
    }


def test_every_number_has_its_error():
    lines = job.describe_results(numbers_of_an_evaluation()).splitlines()
    assert "10,000 images of mnist's test split" in lines[0]
    assert lines[1].split() == ["ELBO", "0.00", "±", "0.12"]
    assert lines[4].split()[-3:] == ["3.00", "±", "0.12"]
    assert lines[7].endswith(" 7 of 32, of which 3 carry more than 0.1 nats")
    assert "5,000 importance samples per image, which are worth 81 in the" in lines[8]
    assert "median and 1 at least: " in lines[9]
    assert len({line.index("±") for line in lines[1:6]}) == 1
    assert max(map(len, lines)) <= 100


def test_one_image_has_no_error():
    results = numbers_of_an_evaluation(elbo_stderr=None)
    assert job.describe_results(results).splitlines()[1].endswith("± ?")


@pytest.fixture(scope="module")
def iwae_run(digits_data_dir, tmp_path_factory):
    """A run whose bound of four samples chooses the epoch, evaluated on the validation images.

    With its figures instead of their files, and what was shown of its progress.
    """
    folder = tmp_path_factory.mktemp("iwae")
    settings = TrainingSettings(
        data_dir=str(digits_data_dir),
        latent_dim=3,
        hidden=[16],
        batch_size=200,
        objective="iwae",
        num_samples=4,
        average_weights=0.9,
        learning_rate_schedule="constant",
        epochs=3,
        split="validation",
        num_importance_samples=5,
    )
    figures, console = {}, Console(file=io.StringIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            job.figures, "save_figure", lambda figure, path: figures.update({path.stem: figure})
        )
        patch.setattr(job, "export_saved_model", lambda vae, path: path)
        patch.setattr(job, "Progress", functools.partial(Progress, console))
        run = job.train(settings, folder, say=lambda line: None)
    return run, figures, console.file.getvalue()


def test_the_bound_that_is_trained_chooses_the_epoch(iwae_run):
    run, figures, shown = iwae_run
    history = runs.read_history(run.folder / runs.HISTORY)
    assert run.results["best_epoch"] == 1 + int(np.argmin(history["val_loss"]))
    # The bound of four samples is above the ELBO.
    assert history["val_loss"][-1] < -history["val_elbo"][-1]
    assert runs.load_vae(run.folder).objective.num_samples == 4
    last = {name: history[name][-1] for name in ("loss", "val_loss")}
    assert f"loss {last['loss']:.2f}  val_loss {last['val_loss']:.2f}" in shown
    (axes, *_) = figures["training_curves"].axes
    assert axes.get_title(loc="left") == "objective"


def test_numbers_may_be_of_validation_images(iwae_run):
    run, figures, _ = iwae_run
    assert run.results["settings"]["split"] == "validation"
    settings = runs.settings_beside(run.folder)
    for split, is_same in (("validation", True), ("test", False)):
        elbo = job.evaluate(run.vae, settings.replace(split=split))["elbo"]
        assert (elbo == pytest.approx(run.results["elbo"], rel=1e-6)) == is_same
    assert figures.keys() >= {"samples", "latent_traversals"}


def test_figures_may_be_of_validation_images(tiny_run, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(job.figures, "save_figure", lambda figure, path: None)
    for name in ("samples", "kl_per_dimension", "latent_plane"):
        monkeypatch.setattr(job.figures, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(job.figures, "reconstructions", lambda vae, images: shown.append(images))
    settings = runs.settings_beside(tiny_run.folder)
    for split in ("validation", "test"):
        job.write_figures(tiny_run.vae, settings.replace(split=split), tmp_path)
        (images,) = splits.load_split(settings, split, batch_size=20, shuffle=False).take(1)
        np.testing.assert_array_equal(shown.pop(), images)


def test_a_split_that_is_not_there_shows_before_the_training(small_settings, tmp_path):
    with pytest.raises(InputError, match="tset"):
        job.train(small_settings.replace(split="tset"), tmp_path)
    assert not any(tmp_path.glob("backup/*"))


def test_a_data_set_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="no_such_data"):
        job.train(TrainingSettings(dataset="no_such_data"), tmp_path)
    assert not any(tmp_path.iterdir())


def test_epochs_and_patience_follow_the_size_of_the_data():
    defaults = TrainingSettings()
    resolved = job.with_epochs(defaults, steps_per_epoch=12)
    assert (resolved.epochs, resolved.patience) == (200, 20)
    assert job.with_epochs(defaults, steps_per_epoch=422).epochs == 95
    assert job.with_epochs(defaults, steps_per_epoch=10_000).epochs == 50
    given = TrainingSettings(epochs=7, patience=2)
    assert job.with_epochs(given, steps_per_epoch=12) == given


def test_a_warm_up_leaves_an_epoch_to_choose():
    settings = TrainingSettings(warmup_epochs=3, epochs=4)
    assert job.with_epochs(settings, steps_per_epoch=12).epochs == 4
    for epochs, warmup_epochs in ((3, 3), (None, 50)):
        settings = TrainingSettings(warmup_epochs=warmup_epochs, epochs=epochs)
        with pytest.raises(InputError, match=f"warmup_epochs, {warmup_epochs}, must be fewer"):
            job.with_epochs(settings, steps_per_epoch=10_000)


def test_learning_rate_falls_along_a_cosine_to_zero():
    settings = TrainingSettings(epochs=10, learning_rate=0.5)
    vae = job.build_vae(settings, (6, 5, 1))
    job.compile_vae(vae, settings, steps_per_epoch=3)
    assert isinstance(vae.optimizer, keras.optimizers.Adam)
    rates = []
    for step in (0, 15, 30):
        vae.optimizer.iterations.assign(step)
        rates.append(float(vae.optimizer.learning_rate))
    assert rates == pytest.approx([0.5, 0.25, 0.0], abs=1e-6)


def test_learning_rate_may_be_constant():
    settings = TrainingSettings(epochs=10, learning_rate=0.5, learning_rate_schedule="constant")
    assert job.learning_rate(settings, num_steps=30) == 0.5


def test_learning_rate_falls_in_the_stages_of_burda():
    settings = TrainingSettings(epochs=3280, learning_rate_schedule="piecewise")
    rate = job.learning_rate(settings, num_steps=3280 * 10)
    # 3^i passes over the data, of 10 steps each, at 0.001 * 10^(-i/7).
    for first, last, stage in ((0, 9, 0), (11, 39, 1), (41, 129, 2), (10_931, 32_799, 7)):
        for step in (first, last):
            assert float(rate(step)) == pytest.approx(1e-3 * 10 ** (-stage / 7), rel=1e-5)


def compiled(**given):
    settings = TrainingSettings(epochs=10, **given)
    vae = job.build_vae(settings, (6, 5, 1))
    job.compile_vae(vae, settings, steps_per_epoch=3)
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
        vae = compiled(gradient_clipping=clipping, hidden=[8])
        vae.run_eagerly = True
        vae.fit(images, verbose=0)
        first = [moment for moment in vae.optimizer.variables if "momentum" in moment.path]
        moments.append(np.sqrt(sum(float(np.sum(moment**2)) for moment in first)))
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
    encoder = job.build_vae(settings, (6, 5, 1)).encoder
    assert [encoder.get_layer(name).filters for name in ("down_0", "down_1")] == [3, 4]
    assert encoder.get_layer("hidden_0").units == 5
    assert encoder.get_layer("hidden_0").activation is keras.activations.tanh
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in encoder.layers)
    assert not any(layer.name.startswith("stage_0_1") for layer in encoder.layers)


@pytest.fixture(scope="module")
def small_settings(digits_data_dir):
    return TrainingSettings(data_dir=str(digits_data_dir), latent_dim=2, hidden=[16], epochs=1)
