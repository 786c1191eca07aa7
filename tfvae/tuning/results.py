"""What a search has found: a table of its trials, and the latent size to take, with the reason."""

import csv
import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, read_json
from tfvae.tuning.oracles import read_trials

RESULT = "result.json"
"""In the folder of a trial that ended: what came of it."""

TERMS = ("val_elbo", "val_log_likelihood", "val_reconstruction", "val_kl")
"""The numbers of the validation images that have a standard error over the images."""


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        trial_id: The number of the trial, as KerasTuner writes it.
        values: The values of the hyperparameters, by name.
        failure: Why the trial failed, in a line; None if it did not.
        numbers: What `average` gives of its executions; nothing if it failed.
    """

    trial_id: str
    values: Mapping[str, Any]
    failure: str | None = None
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def latent_dim(self) -> int:
        """The latent size."""
        return self.values["latent_dim"]

    def text(self, name: str) -> str:
        """Writes a value or a number, with its standard error if it has one over the images."""
        if name in self.values:
            value = self.values[name]
            return f"{value:g}" if isinstance(value, float) else str(value)
        if name in TERMS:
            return f"{self.numbers[name]:.2f} ± {self.numbers[f'{name}_stderr']:.2f}"
        return f"{self.numbers[name]:.0f}"

    def line(self, objective: str) -> str:
        """Tells in a line how the trial ended."""
        values = "  ".join(f"{name} {self.text(name)}" for name in self.values)
        end = f"failed: {self.failure}"
        if self.failure is None:
            end = f"{objective} {self.text(objective)}  ({self.text('seconds')} s)"
        return f"trial {self.trial_id}: {values}  {end}"


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found; `rich.print` shows it.

    Attributes:
        folder: The folder of the search.
        objective: What was maximized.
        trials: All trials that ended, in the order of their numbers.
        sizes: The best trial of each latent size, from the smallest size on.
        chosen: The trial to take.
        reason: Why that one, in a sentence.
    """

    folder: Path
    objective: str
    trials: Sequence[TrialResult]
    sizes: Sequence[TrialResult]
    chosen: TrialResult
    reason: str

    @property
    def latent_dim(self) -> int:
        """The latent size to take."""
        return self.chosen.latent_dim

    @property
    def table(self) -> Path:
        """The file of the table of all trials."""
        return self.folder / "results.csv"

    @property
    def figure(self) -> Path:
        """The file of the figure."""
        return self.folder / "latent_size.png"

    def write_table(self) -> None:
        """Writes the table of all trials."""
        rows = [
            {"trial": trial.trial_id, **trial.values, "failure": trial.failure, **trial.numbers}
            for trial in self.trials
        ]
        with atomic_write(self.table) as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(itertools.chain(*rows))))
            writer.writeheader()
            writer.writerows(rows)

    def __rich__(self) -> RenderableType:
        """The best trial of each size, and the trials that failed."""
        names = [*self.chosen.values, *TERMS, "val_active_units", "seconds"]
        names.remove("val_reconstruction")
        table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in names:
            header = name.removeprefix("val_").replace("_", " ")
            table.add_column(header, overflow="fold", no_wrap=name in TERMS)
        for trial in self.sizes:
            style = "bold" if trial is self.chosen else None
            table.add_row(*(Text(trial.text(name)) for name in names), style=style)
        head = "On the validation images, mean ± standard error in nats per image:"
        effective = [trial.numbers["val_effective_sample_size_median"] for trial in self.sizes]
        note = f"""(the importance samples of log p(x) are worth {min(effective):.0f} to \
{max(effective):.0f} independent ones, in the median over the images)"""
        failures = [trial.line(self.objective) for trial in self.trials if trial.failure]
        return Group(head, table, *map(Text, [note, *failures]))


def read_search(folder: Path, objective: str) -> SearchResult:
    """Reads what a search has found from its folder; raises `InputError` if no trial ended well."""
    trials = [
        _read_result(folder / f"trial_{key}" / RESULT)
        for key, state in read_trials(folder).items()
        if state["status"] in ("COMPLETED", "FAILED")
    ]
    completed = [trial for trial in trials if not trial.failure]
    if not completed:
        reason = f"; the first one failed with {trials[0].failure}" if trials else ""
        raise InputError(f"none of the {len(trials)} trials ended well{reason}")
    completed.sort(key=lambda trial: trial.numbers[objective])
    best = {trial.latent_dim: trial for trial in completed}
    sizes = [best[latent_dim] for latent_dim in sorted(best)]
    chosen, reason = choose(sizes, objective)
    return SearchResult(folder, objective, trials, sizes=sizes, chosen=chosen, reason=reason)


def _read_result(file):
    try:
        return TrialResult(**read_json(file))
    except (OSError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}; search in another folder") from error


def choose(sizes: Sequence[TrialResult], objective: str) -> tuple[TrialResult, str]:
    """Chooses the smallest latent size within one standard error of the best, and says why.

    Args:
        sizes: The best trial of each latent size, from the smallest size on.
        objective: What was maximized.

    References:
        Breiman et al. Classification and Regression Trees. 1984. Section 3.4.3 (the one-standard-
        error rule).
    """
    best = max(sizes, key=lambda trial: trial.numbers[objective])
    least = best.numbers[objective] - best.numbers[f"{objective}_stderr"]
    chosen = next(trial for trial in sizes if trial.numbers[objective] >= least)
    reason = f"Take {chosen.latent_dim} latent dimension{'s' if chosen.latent_dim > 1 else ''}: "
    if chosen is best:
        reason += f"no other number has a better {objective} than its {best.text(objective)}"
        reason += " nats, and no smaller one is within one standard error of it."
    else:
        reason += f"the smallest number whose {objective}, {chosen.text(objective)} nats, is "
        reason += f"within one standard error of the best, {best.text(objective)} nats with "
        reason += f"{best.latent_dim}."
    if best is sizes[-1]:
        reason += " No larger number was tried, and one may be better still."
    return chosen, reason


def average(records: Sequence[Mapping[str, Any]], objective: str) -> dict[str, float]:
    """Averages the numbers of executions, with the standard errors of those that have any.

    The images are the same in all executions, so that only the variance between executions falls
    with their number.
    """
    scores = [record[objective] for record in records]
    numbers: dict[str, float] = {"executions": len(records)}
    numbers["best_execution"] = scores.index(max(scores))
    for name in (*TERMS, "val_active_units"):
        values = [record[name] for record in records]
        stddev = statistics.stdev(values) if len(values) > 1 else 0.0
        of_images = statistics.fmean(record.get(f"{name}_stderr") or 0.0 for record in records)
        numbers[name] = statistics.fmean(values)
        numbers[f"{name}_stderr"] = math.hypot(of_images, stddev / math.sqrt(len(values)))
        numbers[f"{name}_stddev_over_executions"] = stddev
    for name in (
        "val_effective_sample_size_median",
        "parameters",
        "epochs",
        "best_epoch",
        "seconds",
    ):
        numbers[name] = statistics.fmean(record[name] for record in records)
    return numbers
