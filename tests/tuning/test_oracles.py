import json

import keras_tuner
import pytest
from tiny_search import GRID, NumbersHyperModel, NumbersTuner

from tfvae.tuning import SearchSettings, oracles


class Killed(BaseException):
    """Stands for a kill."""


def search(algorithm, folder, **settings):
    """Runs or continues a search; gives the values of the trials that it ran, and its oracle."""
    if algorithm != "Hyperband":
        settings = {"max_trials": 6, **settings}
    tuner = NumbersTuner(
        NumbersHyperModel(), SearchSettings(algorithm=algorithm, **settings), folder
    )
    run = []
    tuner.search(run)
    return run, tuner.oracle


def damage(folder):
    """Cuts off all files that KerasTuner itself writes, and leaves one of a trial that is not."""
    (folder / "trial_unknown").mkdir(exist_ok=True)
    (folder / "trial_unknown" / "trial.json").touch()
    for file in folder.glob("trial_*/trial.json"):
        file.write_text(file.read_text()[:20])


@pytest.mark.parametrize(
    "algorithm",
    [
        "GridSearch",
        "Hyperband",
        pytest.param("RandomSearch", marks=pytest.mark.slow),
        pytest.param("BayesianOptimization", marks=pytest.mark.slow),
    ],
)
def test_no_trial_is_lost_or_repeated_whenever_the_search_is_killed(
    algorithm, tmp_path, monkeypatch
):
    def write_json(file, value):
        # Without the wait for the disk of an atomic write.
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))

    monkeypatch.setattr(oracles, "write_json", write_json)
    undisturbed, _ = search(algorithm, tmp_path / "undisturbed")
    if algorithm == "GridSearch":
        assert undisturbed == GRID
    # Once before each time that the state is written, once after it.
    moments = [(write, when) for write in range(3 * len(undisturbed)) for when in (0, 1)]
    if algorithm == "Hyperband":
        moments = moments[::3]
    kills = 0
    for moment in moments:
        folder = tmp_path / "-".join(map(str, moment))
        writes = iter(range(1000))

        def write_or_be_killed(file, value, moment=moment, writes=writes):
            write = next(writes)
            if (write, 0) == moment:
                raise Killed
            write_json(file, value)
            if (write, 1) == moment:
                raise Killed

        monkeypatch.setattr(oracles, "write_json", write_or_be_killed)
        try:
            search(algorithm, folder)
        except Killed:
            kills += 1
            damage(folder)
        monkeypatch.setattr(oracles, "write_json", write_json)
        _, oracle = search(algorithm, folder)
        trials = oracle.trials.values()
        assert {trial.status for trial in trials} == {"COMPLETED"}
        assert sorted(oracle.end_order) == sorted(oracle.trials)
        assert len(trials) == len(undisturbed)
        if algorithm == "GridSearch":
            values = [tuple(trial.hyperparameters.values.values()) for trial in trials]
            assert sorted(values) == GRID
    assert kills == len(moments)


def test_a_grid_has_each_combination_of_what_is_active(tmp_path):
    class ConditionalHyperModel(NumbersHyperModel):
        def build(self, hp):
            hp.Choice("latent_dim", [2, 4])
            network = hp.Choice("network", ["mlp", "conv"])
            with hp.conditional_scope("network", "conv"):
                if network == "conv":
                    hp.Int("filters", 8, 16, step=8)
            hp.Float("rate", 0.1, 1.0, step=0.9, default=0.5)

    class ValuesTuner(NumbersTuner):
        def run_trial(self, trial, run):
            run.append(tuple(trial.hyperparameters.values.get(name) for name in names))
            return 0.0

    names = ("latent_dim", "network", "filters", "rate")
    run = []
    ValuesTuner(ConditionalHyperModel(), SearchSettings(), tmp_path).search(run)
    assert len(run) == len(set(run))
    assert set(run) == {
        (latent_dim, *network, rate)
        for latent_dim in (2, 4)
        for network in (("mlp", None), ("conv", 8), ("conv", 16))
        for rate in (0.5, 0.1, 1.0)
    }
    # The defaults come first.
    assert run[0] == (2, "mlp", None, 0.5)


def test_a_search_goes_on_with_more_trials(tmp_path):
    first, _ = search("GridSearch", tmp_path, max_trials=2)
    others, oracle = search("GridSearch", tmp_path, max_trials=None)
    assert first + others == GRID
    assert len(oracle.trials) == 6


def test_bayesian_optimization_tries_nothing_twice(tmp_path):
    run, _ = search("BayesianOptimization", tmp_path, max_trials=8)
    assert sorted(run) == GRID


def test_failures_in_a_row_do_not_end_a_search(tmp_path):
    class FailingTuner(NumbersTuner):
        def run_trial(self, trial, run):
            raise keras_tuner.errors.FailedTrialError("no memory")

    tuner = FailingTuner(NumbersHyperModel(), SearchSettings(), tmp_path)
    tuner.search([])
    state = json.loads((tmp_path / "oracle.json").read_text())
    assert [trial["status"] for trial in state["trials"].values()] == 6 * ["FAILED"]
