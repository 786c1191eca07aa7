import contextlib
import csv
import errno
import io
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import rich
import tensorflow as tf
import tiny_search
from PIL import Image
from synthetic_datasets import SyntheticGray

import tfvae
from tfvae import tuning
from tfvae.common.errors import InputError
from tfvae.training import runs, strategies
from tfvae.training.settings import TrainingSettings
from tfvae.tuning import SearchSettings, SearchSpace, processes, searches


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in processes.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Compiling tiny models would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class EagerHyperModel(tiny_search.TinyHyperModel):
    def build(self, hp):
        vae = super().build(hp)
        vae.run_eagerly = True
        return vae


class CapriciousHyperModel(EagerHyperModel):
    """Fails at some latent sizes, in the ways that trials fail."""

    def fit(self, hp, model, *args, **kwargs):
        if model.latent_dim == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when [allocating] a tensor")
        if model.latent_dim == 3:
            model.set_weights([np.full_like(weights, np.nan) for weights in model.get_weights()])
        return super().fit(hp, model, *args, **kwargs)


def search(folder, hypermodel=None, **settings):
    images = tiny_search.images()
    return tuning.search(
        hypermodel or EagerHyperModel(),
        images[:300],
        images[300:],
        tiny_search.SETTINGS.replace(**settings),
        folder=folder,
    )


@pytest.fixture(scope="module")
def capricious(tmp_path_factory):
    """A search of two executions per trial, in which two trials fail, and what it printed."""
    folder = tmp_path_factory.mktemp("searches") / "capricious"
    with contextlib.redirect_stdout(io.StringIO()) as output:
        result = search(folder, CapriciousHyperModel(), executions=2)
    return result, output.getvalue().strip().splitlines()


def test_a_search_gives_a_table_a_figure_and_a_reason(capricious, capsys):
    result, lines = capricious
    assert [trial.failure is None for trial in result.trials] == [True, False, False, True]
    assert result.latent_dim in (1, 4)
    assert f"Take {result.latent_dim} latent dimension" in result.reason
    assert len([line for line in lines if line.startswith("trial ")]) == 4
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
    rich.print(result)
    table = capsys.readouterr().out
    assert all(trial.text("val_elbo") in table for trial in result.sizes)


def test_a_failed_trial_has_its_reason(capricious, capsys):
    result, lines = capricious
    out_of_memory, not_a_number = (trial.failure for trial in result.trials[1:3])
    assert out_of_memory == "ResourceExhaustedError: OOM when [allocating] a tensor"
    assert "loss is nan" in not_a_number
    assert f"trial 0001: latent_dim 2  width 8  failed: {out_of_memory}" in lines
    rich.print(result)
    assert out_of_memory in " ".join(capsys.readouterr().out.split())
    explanation = (result.folder / "trial_0001" / "failure.txt").read_text()
    assert "Traceback" in explanation


def test_the_chosen_model_is_the_one_of_its_best_execution(capricious):
    result, _ = capricious
    vae = tuning.load_chosen(CapriciousHyperModel(), result)
    again = tfvae.inference.evaluate(vae, tiny_search.images()[300:], 10, seed=0)
    # Of two executions the better one is above their mean by this.
    distance = result.chosen.numbers["val_elbo_stddev_over_executions"] / np.sqrt(2)
    best = result.chosen.numbers["val_elbo"] + distance
    assert again["elbo"] == pytest.approx(best, abs=1e-4)


def test_a_failed_trial_prints_no_traceback(tmp_path, capfd):
    search(tmp_path, CapriciousHyperModel(latent_dims=(1, 2)))
    printed = capfd.readouterr()
    assert "trial 0001: latent_dim 2  width 8  failed: " in printed.out
    assert "Traceback" not in printed.out + printed.err


def test_a_trial_for_which_there_was_no_room_is_run_again(tmp_path, monkeypatch):
    def save(file, *arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    hypermodel = EagerHyperModel(latent_dims=(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", save)
        with pytest.raises(OSError, match="No space left on device") as error:
            search(tmp_path, hypermodel)
    assert error.value.filename == str(tmp_path)
    assert [trial.failure for trial in search(tmp_path, hypermodel).trials] == [None, None]


@pytest.mark.parametrize("name", ["search.json", "oracle.json", "trial_0000/result.json"])
@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '{"trials": {}, "a": 1}'])
def test_a_damaged_file_of_a_search_is_named(name, text, capricious, tmp_path):
    folder = shutil.copytree(capricious[0].folder, tmp_path / "capricious")
    if (name, text) == ("oracle.json", '{"trials": {}, "a": 1}'):
        state = json.loads((folder / name).read_text())
        text = json.dumps({"trials": state["trials"]})
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name} is damaged|holds another search"):
        search(folder, CapriciousHyperModel(), executions=2)


def test_a_damaged_trial_of_kerastuner_is_written_anew(capricious, tmp_path):
    folder = shutil.copytree(capricious[0].folder, tmp_path / "capricious")
    (folder / "trial_0000" / "trial.json").write_text("{")
    assert search(folder, CapriciousHyperModel(), executions=2).reason == capricious[0].reason


def test_hyperparameters_are_written_for_tensorboard(capricious):
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = Counter()
    for file in capricious[0].folder.glob(f"{runs.TENSORBOARD}/**/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "hparams":
                    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
                    found[data.session_start_info.hparams["latent_dim"].number_value] += 1
    assert found == {1: 2, 4: 2}


def test_a_search_that_ended_runs_nothing_again_and_keeps_others_out(capricious, capsys):
    result, _ = capricious
    files = {path: path.stat().st_mtime_ns for path in result.folder.glob("trial_*/result.json")}
    again = search(result.folder, CapriciousHyperModel(), executions=2)
    assert again.reason == result.reason
    assert "trial" not in capsys.readouterr().out
    with pytest.raises(
        InputError,
        match=r"holds another search \(space.latent_dims is \[1, 2, 3, 4\] there, \[2, 3\] here; "
        r"search.executions is 2 there, 3 here\)",
    ):
        search(result.folder, CapriciousHyperModel(latent_dims=(2, 3)), executions=3)
    assert files == {
        path: path.stat().st_mtime_ns for path in result.folder.glob("trial_*/result.json")
    }


@pytest.mark.slow
def test_an_interrupted_search_goes_on_to_the_same_result(capricious, tmp_path):
    class InterruptedHyperModel(EagerHyperModel):
        fits = 0

        def fit(self, *args, **kwargs):
            InterruptedHyperModel.fits += 1
            if InterruptedHyperModel.fits == 3:
                raise KeyboardInterrupt
            return super().fit(*args, **kwargs)

    hypermodel = InterruptedHyperModel(latent_dims=(1, 4))
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, hypermodel, executions=2)
    again = search(tmp_path, hypermodel, executions=2)
    # The first trial had ended, the second one is run again.
    assert InterruptedHyperModel.fits == 2 + 1 + 2
    # A trial is a function of its seeds.
    for trial, other in zip(again.trials, capricious[0].sizes, strict=True):
        assert {**trial.numbers, "seconds": 0} == {**other.numbers, "seconds": 0}
    assert again.reason == capricious[0].reason


@pytest.mark.slow
def test_hyperband_continues_the_best(tmp_path):
    hypermodel = EagerHyperModel(latent_dims=(1, 2, 3))
    hypermodel.training = hypermodel.training.replace(epochs=3)
    result = search(tmp_path, hypermodel, algorithm="Hyperband", max_trials=4)
    epochs = [trial.numbers["epochs"] for trial in result.trials]
    values = [
        trial["hyperparameters"]["values"]
        for trial in json.loads((tmp_path / "oracle.json").read_text())["trials"].values()
    ]
    continued = [each["tuner/initial_epoch"] > 0 for each in values]
    assert any(continued)
    assert all(count == 2 for count, goes_on in zip(epochs, continued, strict=True) if goes_on)


# What cannot be used.


def test_a_hypermodel_that_cannot_build_is_refused_before_anything_is_written(tmp_path):
    def build_decoder(hp):
        raise OverflowError("no room")

    hypermodel = EagerHyperModel()
    hypermodel.build_decoder = build_decoder
    with pytest.raises(OverflowError, match="no room"):
        search(tmp_path / "search", hypermodel)
    assert not (tmp_path / "search").exists()


def test_all_trials_failing_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="none of the 1 trials ended well; the first one failed w"):
        search(tmp_path, CapriciousHyperModel(latent_dims=(2,)))


def test_folders_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no empty folder, and holds no search"):
        search(tmp_path)
    with pytest.raises(InputError, match="is no empty folder, and holds no search"):
        search(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_is_used_by_one_search_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(searches, "SECONDS_TO_WAIT_FOR_LOCK", 0.1)

    class SecondHyperModel(EagerHyperModel):
        def fit(self, *args, **kwargs):
            with pytest.raises(InputError, match="a search is running in"):
                search(tmp_path, SecondHyperModel(latent_dims=(1,)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, SecondHyperModel(latent_dims=(1,)))


def test_a_trial_is_not_shared_out_over_processes(tmp_path):
    hypermodel = EagerHyperModel()
    hypermodel.training = hypermodel.training.replace(strategy="multi_worker")
    with pytest.raises(InputError, match="strategy must be one of auto, one_device, mirrored; got"):
        search(tmp_path / "search", hypermodel)
    assert not list(tmp_path.iterdir())


# Devices and data sets.


def test_a_model_is_built_for_the_devices_of_a_strategy(tmp_path, logical_cpus, monkeypatch):
    # Not the exchanges that other strategies of this process use: they would be taken for theirs.
    strategy = tf.distribute.MirroredStrategy(
        logical_cpus[:2], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    monkeypatch.setattr(strategies, "get", lambda name: {"mirrored": strategy}[name])

    class MirroredHyperModel(EagerHyperModel):
        def fit(self, hp, model, *args, **kwargs):
            assert model.distribute_strategy is strategy
            raise KeyboardInterrupt

    hypermodel = MirroredHyperModel(latent_dims=(2,))
    hypermodel.training = hypermodel.training.replace(strategy="mirrored")
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, hypermodel)


def test_trials_are_of_the_images_that_the_settings_leave(tmp_path, monkeypatch):
    given = []

    def note(hypermodel, images, validation_images, *args, **kwargs):
        count = sum(len(batch) for batch in validation_images)
        given.append((hypermodel.num_images, len(list(images(1, 0))), count))

    monkeypatch.setattr(searches, "search", note)
    training = TrainingSettings(dataset=SyntheticGray.name, data_dir=str(tmp_path))
    for each in (training, training.replace(num_validation_images=2)):
        tuning.search_dataset(each, SearchSpace(), SearchSettings(), folder=tmp_path / "search")
    assert given == [(45, 45, 5), (48, 48, 2)]
