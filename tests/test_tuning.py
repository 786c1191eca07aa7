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

import tfvae
from tfvae import cli, hypermodel, oracles, runs, trials, tuning, tuning_report, workers
from tfvae.errors import InputError
from tfvae.search_settings import SearchSettings, SearchSpace
from tfvae.settings import TrainingSettings

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

    written_whole = oracles.written_whole
    kill_at = 0
    while True:
        folder = tmp_path / f"killed-{kill_at}"
        oracle = new_oracle(algorithm, folder)
        writes = iter(range(1000))
        for when in ("before", "after"):

            @contextlib.contextmanager
            def cut_off(path, when=when, writes=writes):
                killed = next(writes) == kill_at
                if killed and when == "before":
                    raise Killed
                with written_whole(path) as beside:
                    yield beside
                if killed:
                    raise Killed

            monkeypatch.setattr(oracles, "written_whole", cut_off)
            try:
                run_trials(oracle, folder)
                was_killed = False
            except Killed:
                was_killed = True
            writes = iter(range(1000))
            monkeypatch.setattr(oracles, "written_whole", written_whole)
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
