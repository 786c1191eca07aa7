"""KerasTuner's search algorithms, with a state that survives being killed at any moment.

KerasTuner writes `oracle.json` and each `trial.json` in place, one after the other: killed in the
middle of one or between two, it cannot go on, or loses a trial. Here `oracle.json` holds the trials
too and is replaced as a whole; when it is read back, each `trial.json` is written anew from it.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras_tuner

from tfvae.common.errors import InputError
from tfvae.common.files import read_json, write_json
from tfvae.tuning.search_settings import SearchSettings

STATE = "oracle.json"


def read_trials(folder: Path) -> dict[str, dict[str, Any]]:
    """Reads KerasTuner's state of each trial of a search by its number, in their order."""
    file = folder / STATE
    trials = read_json(file).get("trials") if file.is_file() else {}
    if not isinstance(trials, dict):
        raise InputError(f"{file} is damaged: it holds no trials; search in another folder")
    return trials


class _Durable(keras_tuner.Oracle):
    def __init__(self, folder: Path, settings: SearchSettings, seed: int, **kwargs: Any):
        super().__init__(
            objective=keras_tuner.Objective(settings.objective, "max"),
            # KerasTuner takes 0 for no seed.
            seed=seed + 1,
            # By default three trials that fail in a row end the search, and so do the largest
            # models where memory is short.
            max_consecutive_failed_trials=None,
            **kwargs,
        )
        if settings.max_trials is not None:
            self.max_trials = settings.max_trials
        self.verbose = 0
        self.folder = folder

    def get_state(self):
        state = super().get_state()
        ongoing = state["ongoing_trials"].items()
        # A trial that ends is saved before it is taken off the ongoing ones.
        ongoing = {tuner: trial for tuner, trial in ongoing if trial not in self.end_order}
        trials = {key: self.trials[key].get_state() for key in self.start_order}
        return state | {"ongoing_trials": ongoing, "trials": trials}

    def save(self):
        write_json(self.folder / STATE, self.get_state())

    def reload(self):
        trials = read_trials(self.folder)
        for file in self.folder.glob("trial_*/trial.json"):
            file.unlink()
        for trial_id, state in trials.items():
            write_json(self.folder / f"trial_{trial_id}" / "trial.json", state)
        if not trials:
            return
        try:
            super().reload()
        except RuntimeError as error:  # Of whatever KerasTuner met there.
            raise InputError(f"{self.folder / STATE} is damaged: {error.__context__!r}") from error


class GridSearchOracle(_Durable):
    """Every combination of values, one after the other.

    KerasTuner's own cannot be reloaded, because the order of its grid is not in its state. This
    one needs no state: a trial has the combination of its number.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Gives the values of the next trial."""
        combinations = _combinations(self.get_space(), self.get_space().space, {})
        values = next(itertools.islice(combinations, len(self.trials), None), None)
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}


class RandomSearchOracle(_Durable, keras_tuner.oracles.RandomSearchOracle):
    """Combinations drawn at random, none of them twice."""


class HyperbandOracle(_Durable, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, of which the best are continued."""


class BayesianOptimizationOracle(_Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    """Combinations where a Gaussian process expects the most, none of them twice."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Gives the values of the next trial."""
        response = super().populate_space(trial_id)
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        # Where values are few, the process expects the most of some that it knows.
        if response["status"] == "RUNNING" and response["values"] in tried:
            return keras_tuner.oracles.RandomSearchOracle.populate_space(self, trial_id)
        return response


def _combinations(
    space: keras_tuner.HyperParameters, hyperparameters: Sequence[Any], values: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The values with each combination of those of the hyperparameters, where they are active."""
    if not hyperparameters:
        yield values
        return
    first, *others = hyperparameters
    space.values = values
    if first.name in values or not space.is_active(first):
        yield from _combinations(space, others, values)
        return
    # The default need not be among the values of a range.
    for value in dict.fromkeys([first.default, *first.values]):
        yield from _combinations(space, others, values | {first.name: value})
