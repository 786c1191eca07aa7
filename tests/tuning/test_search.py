import contextlib
import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
import tiny_search
from PIL import Image
from synthetic import SyntheticGray

import tfvae
from tfvae import cli, tuning
from tfvae.common.errors import InputError
from tfvae.training import runs
from tfvae.training.settings import TrainingSettings
from tfvae.tuning import oracles, trials
from tfvae.tuning import processes as workers
from tfvae.tuning import results as report
from tfvae.tuning import search as searching
from tfvae.tuning.search_settings import SearchSettings, SearchSpace

ALGORITHMS = ("GridSearch", "RandomSearch", "Hyperband", "BayesianOptimization")
TINY_PROGRAM = Path(tiny_search.__file__)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in workers.VARIABLES:
        monkeypatch.delenv(name, raising=False)


# Settings.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latent_dims": (2, 0)}, "latent_dims must be integers of at least 1; got 2, 0"),
        ({"latent_dims": (-4,)}, "at least 1; got -4"),
        ({"latent_dims": (2, 2.5)}, "integers of at least 1; got 2, 2.5"),
        ({"latent_dims": (True,)}, "integers of at least 1; got True"),
        ({"latent_dims": (8, 2, 8)}, "must not be repeated; got 8, 2, 8"),
        ({"latent_range": (8, 2)}, "the smallest and the largest; got 8, 2"),
        ({"latent_range": (2, 8), "latent_dims": (2,)}, "either listed or a range"),
        ({"networks": ("mlp", "cnn")}, "networks must be of mlp, conv, resnet"),
        ({"learning_rates": (0.0,)}, "finite numbers above 0; got 0.0"),
        ({"betas": (float("nan"),)}, "finite numbers of at least 0"),
    ],
)
def test_space_refuses(given, message):
    with pytest.raises(InputError, match=message):
        SearchSpace(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "Gridsearch"}, "the search must be one of GridSearch, "),
        ({"objective": "val_accuracy"}, "'val_accuracy' is not logged"),
        ({"max_trials": 0}, "max_trials must be an integer of at least 1; got 0"),
        ({"executions_per_trial": 1.5}, "executions_per_trial must be an integer"),
    ],
)
def test_settings_refuse(given, message):
    with pytest.raises(InputError, match=message):
        SearchSettings(**given)


# Oracles: killed at every write.


class Killed(BaseException):
    """Stands for a kill."""


def new_oracle(algorithm, folder, *, is_chief=False):
    oracle = oracles.make(
        algorithm,
        max_trials=None if algorithm == "Hyperband" else 6,
        max_epochs=4,
        is_chief=is_chief,
        objective=keras_tuner.Objective("val_elbo", "max"),
        seed=1,
    )
    oracle._set_project_dir(str(folder), "search")
    if Path(folder, "search", "oracle.json").is_file():
        oracle.reload()
    else:
        hp = keras_tuner.HyperParameters()
        hp.Choice("latent_dim", [2, 4, 8])
        hp.Choice("width", [16, 32])
        oracle.update_space(hp)
        oracle.save()
    return oracle


def status_on_disk(folder, trial_id):
    return json.loads(Path(folder, "search", f"trial_{trial_id}", "trial.json").read_text())[
        "status"
    ]


def run_trials(oracle, folder, *, tuner_id="tuner0"):
    while (trial := oracle.create_trial(tuner_id)).status == "RUNNING":
        # What ended well is never given out again.
        assert status_on_disk(folder, trial.trial_id) == "RUNNING"
        score = float(trial.hyperparameters.values["latent_dim"])
        oracle.update_trial(trial.trial_id, {"val_elbo": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert trial.status == "STOPPED"


def combinations(oracle):
    return [
        (trial.hyperparameters.values["latent_dim"], trial.hyperparameters.values["width"])
        for trial in oracle.trials.values()
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_trial_is_lost_or_repeated_whichever_write_is_cut_off(algorithm, tmp_path, monkeypatch):
    undisturbed = new_oracle(algorithm, tmp_path / "undisturbed")
    run_trials(undisturbed, tmp_path / "undisturbed")
    if algorithm == "GridSearch":
        expected = [(2, 16), (2, 32), (4, 16), (4, 32), (8, 16), (8, 32)]
        assert combinations(undisturbed) == expected

    atomic_write = oracles.atomic_write
    kill_at = 0
    while True:
        folder = tmp_path / f"killed-{kill_at}"
        oracle = new_oracle(algorithm, folder)
        writes = iter(range(1000))
        for when in ("before", "after"):

            @contextlib.contextmanager
            def cut_off(path, when=when, writes=writes, kill_at=kill_at):
                killed = next(writes) == kill_at
                if killed and when == "before":
                    raise Killed
                with atomic_write(path) as beside:
                    yield beside
                if killed:
                    raise Killed

            monkeypatch.setattr(oracles, "atomic_write", cut_off)
            try:
                run_trials(oracle, folder)
                was_killed = False
            except Killed:
                was_killed = True
            writes = iter(range(1000))
            monkeypatch.setattr(oracles, "atomic_write", atomic_write)
            if was_killed:
                oracle = new_oracle(algorithm, folder)
        run_trials(oracle, folder)
        assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED"}
        if algorithm == "GridSearch":
            assert sorted(combinations(oracle)) == sorted(combinations(undisturbed))
        else:
            assert len(oracle.trials) == len(undisturbed.trials)
        assert Counter(oracle.end_order) == Counter(oracle.trials.keys())
        if not was_killed and kill_at:
            break
        kill_at += 1
    assert kill_at > 10


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_chief_that_restarts_leaves_trials_with_their_workers(algorithm, tmp_path):
    oracle = new_oracle(algorithm, tmp_path, is_chief=True)
    first, second = oracle.create_trial("worker-1"), oracle.create_trial("worker-2")
    assert first.trial_id != second.trial_id
    oracle = new_oracle(algorithm, tmp_path, is_chief=True)
    assert oracle.create_trial("worker-2").trial_id == second.trial_id
    assert oracle.create_trial("worker-3").trial_id not in (first.trial_id, second.trial_id)
    # Where there is no chief, there is no worker either.
    oracle = new_oracle(algorithm, tmp_path)
    assert oracle.create_trial("tuner0").trial_id == first.trial_id


def test_the_trial_of_a_silent_worker_is_given_out_again_and_its_first_end_counts(tmp_path):
    oracle = new_oracle("RandomSearch", tmp_path, is_chief=True)
    oracle.max_trials = 1
    trial = oracle.create_trial("worker-1")
    assert oracle.create_trial("worker-2").status == "IDLE"
    oracle.take_back("worker-1")
    again = oracle.create_trial("worker-2")
    assert again.trial_id == trial.trial_id
    for score in (3.0, 5.0):
        if trial.trial_id not in oracle.end_order:
            oracle.update_trial(trial.trial_id, {"val_elbo": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.end_order == [trial.trial_id]
    assert oracle.trials[trial.trial_id].score == 3.0
    assert {oracle.create_trial(f"worker-{number}").status for number in (1, 2)} == {"STOPPED"}
    assert not oracle.tuner_ids


def test_workers_without_signs_of_life_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SILENCE", 0.4)
    monkeypatch.setattr(workers, "_SECONDS_BETWEEN_SIGNS", 0.1)
    oracle = new_oracle("RandomSearch", tmp_path, is_chief=True)
    living, dead = oracle.create_trial("living"), oracle.create_trial("dead")
    monkeypatch.setenv(workers.TUNER_ID, "living")
    with workers.signs_of_life(tmp_path), workers.silent_workers_forgotten(oracle, tmp_path):
        deadline = time.monotonic() + 30
        while "dead" in oracle.ongoing_trials and time.monotonic() < deadline:
            time.sleep(0.05)
        assert oracle.create_trial("another").trial_id == dead.trial_id
        assert oracle.ongoing_trials["living"].trial_id == living.trial_id


def test_bayesian_optimisation_tries_nothing_twice(tmp_path):
    oracle = new_oracle("BayesianOptimization", tmp_path)
    run_trials(oracle, tmp_path)
    assert len(set(combinations(oracle))) == len(oracle.trials) >= 5


# The hypermodel.


def test_every_warm_up_of_the_space_is_checked_before_the_first_trial():
    def settings(*warmup_epochs):
        space = SearchSpace(latent_dims=(2,), warmup_epochs=warmup_epochs)
        training = TrainingSettings(epochs=3)
        model = tuning.VAEHyperModel(space, training, image_shape=(6, 5, 1), num_images=40)
        return model.settings(keras_tuner.HyperParameters())

    assert settings(0, 2).warmup_epochs == 0
    with pytest.raises(InputError, match="warmup_epochs, 3, must be fewer than the epochs, 3"):
        settings(0, 3)


def test_the_hypermodel_gives_what_was_chosen():
    model = tuning.VAEHyperModel(
        SearchSpace(
            latent_dims=(4, 2),
            networks=("conv",),
            widths=(64,),
            depths=(3,),
            learning_rates=(0.25,),
            batch_sizes=(50,),
            betas=(0.5,),
            warmup_epochs=(1,),
        ),
        TrainingSettings(epochs=2),
        image_shape=(6, 5, 1),
        num_images=400,
    )
    hp = keras_tuner.HyperParameters()
    vae = model.build(hp)
    assert hp.values == {
        "latent_dim": 2,
        "network": "conv",
        "learning_rate": 0.25,
        "batch_size": 50,
        "beta": 0.5,
        "warmup_epochs": 1,
        "width": 64,
        "depth": 3,
    }
    assert isinstance(vae, tfvae.VAE)
    assert vae.compiled
    assert vae.latent_dim == 2
    filters = [
        layer.filters for layer in vae.encoder.layers if isinstance(layer, keras.layers.Conv2D)
    ]
    assert filters == [4, 8, 16]
    assert float(vae.optimizer.learning_rate) == 0.25
    images = tiny_search.images()
    history = model.fit(hp, vae, images, verbose=0)
    assert int(vae.optimizer.iterations) == 2 * 400 / 50
    # The cosine is at its end with the last step.
    assert float(vae.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-6)
    assert vae.objective.beta == 0.5
    assert history.history["beta"][0] < 0.5
    as_dataset = tf.data.Dataset.from_tensor_slices(images).batch(7)
    model.fit(hp, model.build(hp), as_dataset, epochs=1, verbose=0)


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_widths_and_depths_leave_the_default_networks_as_they_are(network):
    training_settings = TrainingSettings(network=network, epochs=1)
    sizes = [
        tuning.VAEHyperModel(
            SearchSpace(latent_dims=(2,), **space), training_settings, image_shape=(4, 4, 1)
        )
        .build(keras_tuner.HyperParameters())
        .count_params()
        for space in ({}, {"widths": (512,), "depths": (2,)}, {"widths": (256,)})
    ]
    assert sizes[0] == sizes[1] > sizes[2]


def test_a_range_of_latent_sizes_and_networks_of_ones_own():
    def build_decoder(hp):
        units = hp.Choice("units", [5, 7])
        return tfvae.networks.mlp_decoder((6, 5, 1), hp.get("latent_dim"), hidden=(units,))

    model = tuning.VAEHyperModel(
        SearchSpace(latent_range=(2, 9)), image_shape=(6, 5, 1), build_decoder=build_decoder
    )
    hp = keras_tuner.HyperParameters()
    vae = model.build(hp)
    assert next(layer.units for layer in vae.decoder.layers if hasattr(layer, "units")) == 5
    latent_dim, units = hp.space
    assert (latent_dim.name, latent_dim.min_value, latent_dim.max_value) == ("latent_dim", 2, 9)
    assert units.name == "units"


# The report.


def trial_result(trial_id, latent_dim, elbos, error=1.0, status="COMPLETED", failure=None):
    executions = [
        {f"val_{term}": elbo for term in trials.TERMS}
        | {f"val_{term}_stderr": error for term in trials.TERMS}
        | {"active_units": min(latent_dim, 9), "effective_sample_size": 50.0, "parameters": 10}
        | {"epochs": 3, "best_epoch": 2, "seconds": 1.0}
        for elbo in elbos
    ]
    values = {"latent_dim": latent_dim, "learning_rate": 0.001}
    return report.TrialResult(trial_id, status, values, executions, failure)


@pytest.mark.parametrize(
    ("elbos", "chosen", "because"),
    [
        ([-90, -80, -70.9, -70.0], 8, "8 latent dimensions: the smallest size whose val_elbo, "),
        ([-90, -80, -71.1, -70.0], 16, "no larger size was tried"),
        ([-90, -70, -71.1, -75.0], 4, "no smaller size is within one standard error of it."),
        ([-70, -70, -70, -70], 2, "2 latent dimensions: no other number has a better val_elbo"),
    ],
)
def test_the_smallest_size_within_one_standard_error_is_chosen(elbos, chosen, because):
    results = [
        trial_result(str(number), latent_dim, [elbo])
        for number, (latent_dim, elbo) in enumerate(zip((2, 4, 8, 16), elbos, strict=True))
    ]
    # The best trial of a size is the one that counts.
    results.append(trial_result("9", 2, [-99.0]))
    trial, reason = report.choose(results, "val_elbo")
    assert trial.values["latent_dim"] == chosen
    assert because in reason


def test_a_standard_error_is_over_images_and_executions():
    trial = trial_result("0", 2, [-10.0, -12.0, -14.0], error=0.5)
    assert trial.mean("val_elbo") == -12.0
    assert trial.spread("val_elbo") == 2.0
    assert trial.standard_error("val_elbo") == pytest.approx(np.sqrt(0.5**2 + 2.0**2 / 3))


# Searches.


def everything_ended(folder):
    """Every latent size has a trial that ended well, and one only."""
    statuses = {}
    for trial in sorted(folder.glob("trial_*")):
        result = report.read_trial(trial)
        assert result.values["latent_dim"] not in statuses
        statuses[result.values["latent_dim"]] = result.status
    return statuses == dict.fromkeys(tiny_search.LATENT_DIMS, "COMPLETED")


class CapriciousHyperModel(tiny_search.TinyHyperModel):
    """Fails at some latent sizes, in the ways that trials fail."""

    def fit(self, hp, model, *args, **kwargs):
        if model.latent_dim == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")
        if model.latent_dim == 3:
            model.set_weights([np.full_like(weights, np.nan) for weights in model.get_weights()])
        return super().fit(hp, model, *args, **kwargs)


@pytest.fixture(scope="module")
def capricious(tmp_path_factory):
    """A search of two executions a trial, in which two trials fail."""
    folder = tmp_path_factory.mktemp("searches") / "capricious"
    lines = []
    arguments = search_arguments(CapriciousHyperModel(), executions_per_trial=2)
    result = tuning.search(**arguments, folder=folder, say=lines.append)
    return folder, result, lines


def search_arguments(hypermodel=None, **settings):
    images = tiny_search.images()
    return {
        "hypermodel": hypermodel or tiny_search.TinyHyperModel(),
        "images": images[:300],
        "validation_images": images[300:],
        "settings": dataclasses.replace(tiny_search.SETTINGS, **settings),
    }


def test_a_search_gives_a_table_a_figure_and_a_reason(capricious):
    _, result, lines = capricious
    assert [trial.status for trial in result.trials] == [
        "COMPLETED", "FAILED", "FAILED", "COMPLETED"
    ]  # fmt: skip
    assert result.latent_dim in (1, 4)
    assert f"Take {result.latent_dim} latent dimension" in result.reason
    assert len(lines) == 4
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["latent_dim"] for row in rows] == ["1", "2", "3", "4"]
    for row in (rows[0], rows[3]):
        assert int(row["executions"]) == 2
        elbo, log_likelihood = float(row["val_elbo"]), float(row["val_log_likelihood"])
        assert -30 * np.log(2) - 3 < elbo < log_likelihood < 0
        difference = float(row["val_reconstruction"]) - float(row["val_kl"])
        assert difference == pytest.approx(elbo, abs=1e-4)
        assert float(row["val_elbo_stderr"]) > 0
        assert float(row["val_elbo_stddev_over_executions"]) > 0
    with Image.open(result.figure) as figure:
        assert figure.width > 800
    assert sum("<- chosen" in line for line in result.lines) == 1


def test_a_failed_trial_has_its_reason(capricious):
    folder, result, lines = capricious
    out_of_memory, not_a_number = (trial.failure for trial in result.trials[1:3])
    assert out_of_memory == "ResourceExhaustedError: OOM when allocating a tensor"
    assert "loss is nan" in not_a_number
    assert any(out_of_memory in line for line in result.lines)
    assert f"failed: {out_of_memory}" in lines[1]
    message = json.loads((folder / "trial_0001" / "trial.json").read_text())["message"]
    assert "OOM when allocating" in message
    assert "Traceback" in message


def test_the_chosen_model_is_the_one_of_its_best_execution(capricious):
    folder, result, _ = capricious
    vae = tuning.load_chosen(CapriciousHyperModel(), folder, result)
    best = max(result.chosen.executions, key=lambda record: record["val_elbo"])
    again = trials.evaluate(vae, tiny_search.images()[300:], 10, seed=0)
    assert again["val_elbo"] == pytest.approx(best["val_elbo"], abs=1e-4)


def test_hparams_are_written(capricious):
    folder = capricious[0]
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = []
    for file in folder.glob(f"{runs.TENSORBOARD}/**/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    data = plugin_data_pb2.HParamsPluginData.FromString(
                        value.metadata.plugin_data.content
                    )
                    found += [data] if data.HasField("session_start_info") else []
    sizes = Counter(
        int(data.session_start_info.hparams["latent_dim"].number_value) for data in found
    )
    assert sizes == {1: 2, 4: 2}


def test_a_search_that_ended_runs_nothing_again_and_another_one_is_kept_out(capricious):
    folder, result, _ = capricious
    files = {path: path.stat().st_mtime_ns for path in folder.glob("trial_*/*")}
    lines = []
    arguments = search_arguments(CapriciousHyperModel(), executions_per_trial=2)
    again = tuning.search(**arguments, folder=folder, say=lines.append)
    assert again.reason == result.reason
    assert not lines
    assert files == {path: path.stat().st_mtime_ns for path in folder.glob("trial_*/*")}
    arguments = search_arguments(CapriciousHyperModel(latent_dims=(2, 3)), executions_per_trial=3)
    with pytest.raises(
        InputError,
        match=r"holds another search \(executions_per_trial is 2 there, 3 here; "
        r"latent_dims is 1, 2, 3, 4 there, 2, 3 here\)",
    ):
        tuning.search(**arguments, folder=folder)
    assert files == {path: path.stat().st_mtime_ns for path in folder.glob("trial_*/*")}


def test_a_trial_goes_on_with_the_executions_that_it_lacks(tmp_path):
    class InterruptedHyperModel(tiny_search.TinyHyperModel):
        fits = 0
        limit = 3

        def fit(self, *args, **kwargs):
            InterruptedHyperModel.fits += 1
            if InterruptedHyperModel.fits == self.limit:
                raise KeyboardInterrupt
            return super().fit(*args, **kwargs)

    model = InterruptedHyperModel(latent_dims=(1, 2))
    arguments = search_arguments(model, executions_per_trial=2, objective="val_log_likelihood")
    with pytest.raises(KeyboardInterrupt):
        tuning.search(**arguments, folder=tmp_path)
    result = tuning.search(**arguments, folder=tmp_path)
    # One was cut off, none was done twice.
    assert InterruptedHyperModel.fits == 2 * 2 + 1
    assert [len(trial.executions) for trial in result.trials] == [2, 2]
    assert {record["seed"] for record in result.chosen.executions} == {0, 1}
    assert "val_log_likelihood" in result.reason


def test_hyperband_continues_the_best(tmp_path):
    arguments = search_arguments(
        tiny_search.TinyHyperModel(latent_dims=(1, 2, 3)), algorithm="Hyperband"
    )
    arguments["hypermodel"].training = arguments["hypermodel"].training.replace(epochs=3)
    result = tuning.search(**arguments, folder=tmp_path)
    continued = [t for t in result.trials if t.values.get("tuner/initial_epoch")]
    assert continued
    for trial in continued:
        assert trial.executions[0]["epochs"] == 2


# What cannot be used.


def test_a_hypermodel_that_cannot_build_is_refused_before_anything_is_written(tmp_path):
    def build_decoder(hp):
        raise OverflowError("no room")

    class UncompiledHyperModel(tiny_search.TinyHyperModel):
        def build(self, hp):
            super().build(hp)
            return tfvae.VAE((6, 5, 1), 2)

    folder = tmp_path / "search"
    broken = tiny_search.TinyHyperModel()
    broken.build_decoder = build_decoder
    for model, message in (
        (broken, "the hypermodel's build fails: no room"),
        (UncompiledHyperModel(), "must give a compiled tfvae.VAE; it gave an uncompiled VAE"),
        (keras_tuner.HyperModel(), "needs a tfvae.tuning.VAEHyperModel; got HyperModel"),
    ):
        with pytest.raises(InputError, match=message):
            tuning.search(**search_arguments(model), folder=folder)
    assert not folder.exists()


def test_all_trials_failing_is_one_clear_error(tmp_path):
    model = CapriciousHyperModel(latent_dims=(2,))
    with pytest.raises(InputError, match="none of the 1 trials ended well; the first one failed w"):
        tuning.search(**search_arguments(model), folder=tmp_path)
    assert (tmp_path / report.RESULTS).is_file()


def test_folders_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty, and holds no search"):
        tuning.search(**search_arguments(), folder=tmp_path)
    with pytest.raises(InputError, match="must be a folder; there is a file"):
        tuning.search(**search_arguments(), folder=tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_is_used_by_one_search_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_LOCK_PATIENCE", 0.3)
    with workers.sole_use(tmp_path), pytest.raises(InputError, match="a search is running in"):
        tuning.search(**search_arguments(), folder=tmp_path)


def test_a_chief_that_is_not_there_is_not_waited_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHIEF_PATIENCE", 0.5)
    monkeypatch.setenv(workers.TUNER_ID, "worker-1")
    monkeypatch.setenv(workers.ORACLE_PORT, "1")
    with pytest.raises(InputError, match="KERASTUNER_ORACLE_IP must be set where the other ones"):
        tuning.search(**search_arguments(), folder=tmp_path)
    monkeypatch.setenv(workers.ORACLE_IP, "127.0.0.1")
    with pytest.raises(InputError, match=r"no chief answers at 127.0.0.1:1 \(waited 0 s\)"):
        tuning.search(**search_arguments(), folder=tmp_path)
    assert not list(tmp_path.iterdir())


# Several processes.


def processes_of(folder):
    """The processes that have a folder among their arguments."""
    found = []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in arguments.read_bytes():
                found.append(int(arguments.parent.name))
    return [process for process in found if process != os.getpid()]


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def tiny_environment(monkeypatch):
    root = str(Path(tfvae.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *sys.path]))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.mark.usefixtures("tiny_environment")
def test_a_chief_and_two_workers_survive_the_death_of_a_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SECONDS", "1")
    # At this size a worker dies each time.
    monkeypatch.setenv("TINY_DEADLY", "3")
    workers.run_local([sys.executable, str(TINY_PROGRAM), str(tmp_path)], 2, tmp_path)
    assert not processes_of(tmp_path)
    result = report.write(tmp_path, "val_elbo")
    statuses = {trial.values["latent_dim"]: trial.status for trial in result.trials}
    assert statuses == {1: "COMPLETED", 2: "COMPLETED", 3: "FAILED", 4: "COMPLETED"}
    failure = next(trial.failure for trial in result.trials if trial.failure)
    assert failure == "the process died twice at it, with signal SIGABRT"
    said = [
        (tmp_path / "logs" / f"worker-{number}.log").read_text().count("val_elbo")
        for number in (1, 2)
    ]
    assert sum(said) == 3
    assert min(said) >= 1


def kill_and_resume(folder, kills):
    """Kills a search of one process some time after it has begun a trial, again and again."""
    random_times = random.Random(kills)
    command = [sys.executable, str(TINY_PROGRAM), str(folder)]
    output = folder.with_suffix(".txt")
    for _ in range(kills):
        with output.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        state = folder / "oracle.json"
        before = state.stat().st_mtime_ns if state.exists() else None
        try:
            wait_until(
                lambda state=state, before=before, process=process: (
                    (state.exists() and state.stat().st_mtime_ns != before)
                    or process.poll() is not None
                )
            )
            time.sleep(random_times.uniform(0.0, 4.0))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with output.open("ab") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True, timeout=300)
    text = output.read_text()
    assert everything_ended(folder)
    for trial in range(len(tiny_search.LATENT_DIMS)):
        assert text.count(f"trial {trial:04d}: ") <= 1
    assert "Take " in text
    assert not processes_of(folder)


@pytest.mark.usefixtures("tiny_environment")
def test_a_search_that_is_killed_twice_goes_on_where_it_was(tmp_path):
    kill_and_resume(tmp_path / "search", kills=2)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_environment")
def test_a_search_that_is_killed_ten_times_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SECONDS", "1")
    kill_and_resume(tmp_path / "search", kills=10)


LAUNCH = """
import sys
from pathlib import Path
from tfvae.tuning import processes as workers
workers.run_local([sys.executable, sys.argv[1], sys.argv[2]], 2, Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_environment")
def test_workers_and_chief_end_with_what_started_them_and_go_on_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SECONDS", "2")
    folder = tmp_path / "search"
    command = [sys.executable, "-c", LAUNCH, str(TINY_PROGRAM), str(folder)]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: len(list(folder.glob("trial_*/trial.json"))) >= 2)
        time.sleep(1.0)
        # A worker alone, a chief alone, and then everything.
        for name in ("worker-1", "chief"):
            victims = [
                victim
                for victim in processes_of(folder)
                if f"{workers.TUNER_ID}={name}".encode()
                in Path(f"/proc/{victim}/environ").read_bytes()
            ]
            assert len(victims) == 1
            os.kill(victims[0], signal.SIGKILL)
            time.sleep(1.0)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not processes_of(folder), seconds=10)
    subprocess.run(command, check=True, timeout=300)
    assert everything_ended(folder)
    assert not processes_of(folder)


def test_a_trial_trains_on_the_devices_of_a_strategy(tmp_path, logical_cpus, monkeypatch):
    # Not the exchanges that other strategies of this process use: they would be taken for theirs.
    strategy = tf.distribute.MirroredStrategy(
        logical_cpus[:2], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    used = []
    fit = tfvae.VAE.fit

    def fit_and_tell(vae, *args, **kwargs):
        used.append(vae.distribute_strategy)
        return fit(vae, *args, **kwargs)

    monkeypatch.setattr(tfvae.VAE, "fit", fit_and_tell)
    images = tiny_search.images()
    result = tuning.search(
        tiny_search.TinyHyperModel(latent_dims=(2,)),
        images[:300],
        images[300:],
        tiny_search.SETTINGS,
        folder=tmp_path / "search",
        strategy=strategy,
        say=lambda line: None,
    )
    assert used == [strategy]
    assert result.latent_dim == 2


def test_a_trial_is_not_shared_out_over_processes(tmp_path):
    settings = TrainingSettings(strategy="multi_worker")
    with pytest.raises(InputError, match="cannot be shared out over several processes"):
        tuning.search_dataset(settings, SearchSpace(), SearchSettings(), tmp_path / "search")
    assert not list(tmp_path.iterdir())


def test_trials_are_of_the_images_that_the_settings_leave(tmp_path, monkeypatch):
    given = []

    def search(hypermodel, images, validation_images, *args, **kwargs):
        count = sum(len(batch) for batch in validation_images)
        given.append((hypermodel.num_images, len(list(images(1, 0))), count))

    monkeypatch.setattr(searching, "search", search)
    settings = TrainingSettings(dataset=SyntheticGray.name, data_dir=str(tmp_path))
    for each in (settings, settings.replace(num_validation_images=2)):
        searching.search_dataset(each, SearchSpace(), SearchSettings(), tmp_path / "search")
    assert given == [(45, 45, 5), (48, 48, 2)]


# The command.


def test_the_command_searches_the_digits(digits_data_dir, tmp_path, monkeypatch, capsys):
    arguments = ["tfvae", "tune", "--latent-dims", "2", "4", "--widths", "16", "--depths", "1"]
    arguments += ["--data-dir", str(digits_data_dir), "--output", str(tmp_path / "sizes")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--epochs", "2", "--export"])
    with contextlib.suppress(SystemExit):
        cli.main()
    output = capsys.readouterr().out
    folder = tmp_path / "sizes"
    assert str(folder / report.FIGURE) in output
    vae = runs.load_vae(folder)
    settings = runs.settings_beside(folder)
    assert settings.latent_dim == vae.latent_dim
    assert f"Take {vae.latent_dim} latent dimensions" in output
    assert list((folder / "saved_model").glob("*/saved_model.pb"))


def test_the_command_refuses_before_tensorflow_is_there(tmp_path):
    program = """
import sys
from tfvae import cli
try:
    cli.main()
finally:
    heavy = {"tensorflow", "keras", "keras_tuner"} & set(sys.modules)
    assert not heavy, heavy
"""
    for given, code, message in (
        (["--help"], 0, "Find the latent size"),
        (["--latent-dims", "2", "4", "0"], 2, "tfvae: latent_dims must be integers of at least 1"),
        (["--latent-dims", "2", "4.5"], 2, "Invalid value for '--latent-dims'"),
        (["--max-trials", "0"], 2, "tfvae: max_trials must be an integer of at least 1; got 0"),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", program, "tune", *given],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert message in ended.stdout + ended.stderr
        assert ended.returncode == code
    assert not list(tmp_path.iterdir())
