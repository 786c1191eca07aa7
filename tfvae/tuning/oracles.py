"""KerasTuner's oracles, made to survive being killed at any moment, and so their workers.

An oracle says which trial is next and keeps its state in `oracle.json`, and each trial in a
`trial.json`. What is added to KerasTuner's: files that are whole or absent; a state that is set
right when it is read back, so that no trial is lost and none that ended is run again; and trials
that are given out again when their worker falls silent.
"""

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as keras_tuner_trial

from tfvae.common.files import atomic_write

TrialStatus = keras_tuner_trial.TrialStatus
ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)

FAILURE = "failure.txt"
"""In the folder of a trial: why it failed; the first line says it, what follows explains it."""


class DurableOracle(keras_tuner.Oracle):
    """What all oracles here have in common.

    Args:
        is_chief: Whether it serves workers in other processes, which may live on when it dies.
        **kwargs: Those of KerasTuner's oracle.
    """

    def __init__(self, *, is_chief: bool, **kwargs: Any):
        # KerasTuner's own limit breaks off a search in which three trials in a row fail, as the
        # largest models do when memory is short.
        super().__init__(max_consecutive_failed_trials=None, **kwargs)
        self.verbose = 0
        self._is_chief = is_chief

    # Files that are whole or absent: KerasTuner writes them in place.

    def save(self) -> None:
        """Writes the state."""
        with atomic_write(self._get_oracle_fname()) as path:
            super(keras_tuner.Oracle, self).save(str(path))

    def _save_trial(self, trial):
        with atomic_write(Path(self._get_trial_dir(trial.trial_id), "trial.json")) as path:
            trial.save(str(path))

    # A state that is right after any end.

    def reload(self) -> None:
        """Reads the state back, and sets right what an end between two writes has left."""
        folder = Path(self._project_dir)
        for unfinished in (*folder.glob(".oracle.json.*"), *folder.glob("trial_*/.trial.json.*")):
            shutil.rmtree(unfinished, ignore_errors=True)
        super().reload()
        # Made, but not yet given out: it will be made again.
        self.trials = {
            trial_id: trial
            for trial_id, trial in self.trials.items()
            if trial_id in self.start_order
        }
        # Ended, but the end not yet in the state.
        for trial_id, trial in self.trials.items():
            if trial.status in ENDED and trial_id not in self.end_order:
                self.end_order.append(trial_id)
                self._run_times[trial_id] += 1
        # Workers of a chief that has died may be at their trials still.
        if self._is_chief:
            self.ongoing_trials = {
                tuner_id: self.trials[trial_id]
                for tuner_id, trial_id in self._given_out.items()
                if trial_id in self.trials and self.trials[trial_id].status not in ENDED
            }
        ongoing = {trial.trial_id for trial in self.ongoing_trials.values()}
        # The last of them is the next to be given out.
        self._retry_queue = [
            trial_id
            for trial_id in reversed(self.start_order)
            if self.trials[trial_id].status not in ENDED and trial_id not in ongoing
        ]

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over a state."""
        super().set_state(state)
        self._given_out = state["ongoing_trials"]

    # Workers that come and go.

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> keras_tuner_trial.Trial:
        """Gives out the next trial."""
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            # Should one of those die, its trial is for this worker.
            self.tuner_ids.add(tuner_id)
            trial.status = TrialStatus.IDLE
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: keras_tuner_trial.Trial) -> None:
        """Takes note of the end of a trial, once."""
        # Where it was given out twice, because its first worker had fallen silent, or where the
        # worker could not hear that its message had arrived, the first end counts.
        if trial.trial_id not in self.end_order:
            if trial.trial_id in self._retry_queue:
                self._retry_queue.remove(trial.trial_id)
            failure = Path(self._get_trial_dir(trial.trial_id), FAILURE)
            if failure.is_file():
                # The message is not among what KerasTuner sends from a worker to the chief.
                trial.message = failure.read_text(encoding="utf-8")
            super().end_trial(trial)
        self.ongoing_trials = {
            tuner_id: ongoing
            for tuner_id, ongoing in self.ongoing_trials.items()
            if ongoing.trial_id != trial.trial_id
        }

    @keras_tuner.synchronized
    def take_back(self, tuner_id: str) -> None:
        """Forgets a worker; its trial, if it has one, is given out again.

        Args:
            tuner_id: The name of the worker.
        """
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is not None and trial.trial_id not in self.end_order:
            self._retry_queue.append(trial.trial_id)
        self.save()


class GridSearchOracle(DurableOracle, keras_tuner.oracles.GridSearchOracle):
    """Every combination; KerasTuner's, with a memory, and with work for all workers at once."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial."""
        response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.RUNNING:
            # KerasTuner waits for the end of a trial before it gives out the combination after it,
            # for hyperparameters that turn up on the way: here all are known from the start.
            self._populate_next.append(trial_id)
        return response

    def reload(self) -> None:
        """Reads the state back, with the order of the grid, which KerasTuner does not write."""
        super().reload()
        in_order = sorted(
            self.trials.values(),
            key=functools.cmp_to_key(
                lambda one, other: self._compare(
                    one.hyperparameters.values, other.hyperparameters.values
                )
            ),
        )
        self._ordered_ids = type(self._ordered_ids)()
        for trial in in_order:
            self._ordered_ids.insert(trial.trial_id)
        self._populate_next = list(self.start_order)


class RandomSearchOracle(DurableOracle, keras_tuner.oracles.RandomSearchOracle):
    """Combinations drawn at random, none of them twice."""


class HyperbandOracle(DurableOracle, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, of which the best are continued."""


class BayesianOptimizationOracle(DurableOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Combinations where a Gaussian process expects the most, none of them twice."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial."""
        response = super().populate_space(trial_id)
        # Where values are few, the process expects the most of one that it knows.
        if response["status"] == TrialStatus.RUNNING and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response


def make(
    algorithm: str, *, max_trials: int | None, max_epochs: int, **kwargs: Any
) -> DurableOracle:
    """The oracle of a search.

    Args:
        algorithm: `"GridSearch"`, `"RandomSearch"`, `"Hyperband"` or `"BayesianOptimization"`.
        max_trials: The most trials; None for as many as the algorithm makes.
        max_epochs: The most epochs of a trial, which Hyperband rations.
        **kwargs: `is_chief`, `objective`, `seed`.

    Returns:
        The oracle.
    """
    kwargs["max_trials"] = max_trials
    if algorithm == "Hyperband":
        del kwargs["max_trials"]
        oracle = HyperbandOracle(max_epochs=max_epochs, **kwargs)
        oracle.max_trials = max_trials
        return oracle
    oracles = {
        "GridSearch": GridSearchOracle,
        "RandomSearch": RandomSearchOracle,
        "BayesianOptimization": BayesianOptimizationOracle,
    }
    return oracles[algorithm](**kwargs)
