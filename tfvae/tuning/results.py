"""What a search has found: a table, a figure, and the latent size to take, with the reason."""

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.figures import save_figure
from tfvae.tuning import figure as drawing
from tfvae.tuning.oracles import ENDED, TrialStatus
from tfvae.tuning.trials import TERMS, read_executions, read_failure

RESULTS = "results.csv"
FIGURE = "latent_size.png"


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        trial_id: Its number, as KerasTuner writes it.
        status: KerasTuner's: `COMPLETED`, `FAILED` or, while it runs or waits, another.
        values: The hyperparameters by name.
        executions: A record of each execution, as in `executions.json`.
        failure: Why it failed, in one line; None if it did not.
    """

    trial_id: str
    status: str
    values: dict[str, Any]
    executions: list[dict[str, Any]]
    failure: str | None

    def mean(self, name: str) -> float:
        """The mean of a number over the executions."""
        return statistics.fmean(record[name] for record in self.executions)

    def spread(self, name: str) -> float | None:
        """The standard deviation of a number over the executions; None for a single one."""
        if len(self.executions) < 2:
            return None
        return statistics.stdev(record[name] for record in self.executions)

    def standard_error(self, name: str) -> float:
        """The standard error of a mean: over the images, and over the executions.

        The images are the same in all executions, so that only the variance between executions
        falls with their number.
        """
        errors = [record[f"{name}_stderr"] or 0.0 for record in self.executions]
        spread = self.spread(name) or 0.0
        return math.hypot(statistics.fmean(errors), spread / math.sqrt(len(self.executions)))


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        objective: What was maximised.
        trials: All trials, in the order of their numbers.
        chosen: The trial to take.
        reason: Why, in a sentence.
        lines: The table, to print.
        table: The file of the table.
        figure: The file of the figure.
    """

    objective: str
    trials: list[TrialResult]
    chosen: TrialResult
    reason: str
    lines: list[str]
    table: Path
    figure: Path

    @property
    def latent_dim(self) -> int:
        """The latent size to take."""
        return self.chosen.values["latent_dim"]


def ended_trials(folder: Path) -> list[Path]:
    """The folders of the trials of a search that ended, well or not.

    Args:
        folder: That of the search.
    """
    return [
        file.parent
        for file in sorted(folder.glob("trial_*/trial.json"))
        if json.loads(file.read_text(encoding="utf-8"))["status"] in ENDED
    ]


def read_trial(folder: Path) -> TrialResult:
    """What came of a trial.

    Args:
        folder: That of the trial.
    """
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    failure = read_failure(folder)
    if trial["status"] == TrialStatus.FAILED and failure is None:
        failure = (trial["message"] or "its objective is not a number").split("\n", 1)[0]
    return TrialResult(
        trial_id=trial["trial_id"],
        status=trial["status"],
        values=trial["hyperparameters"]["values"],
        executions=read_executions(folder),
        failure=failure,
    )


def trial_line(folder: Path, objective: str) -> str:
    """A trial that ended, in a line.

    Args:
        folder: That of the trial.
        objective: What is maximised.
    """
    trial = read_trial(folder)
    values = "  ".join(f"{name} {_short(value)}" for name, value in _shown(trial.values).items())
    if trial.status != TrialStatus.COMPLETED:
        return f"trial {trial.trial_id}: {values}  failed: {trial.failure}"
    seconds = sum(record["seconds"] for record in trial.executions)
    return (
        f"trial {trial.trial_id}: {values}  {objective} {trial.mean(objective):.2f} ± "
        f"{trial.standard_error(objective):.2f}  ({seconds:.0f} s)"
    )


def choose(trials: Sequence[TrialResult], objective: str) -> tuple[TrialResult, str]:
    """The smallest latent size within one standard error of the best.

    Of several trials of a size, its best counts.

    Args:
        trials: Completed trials.
        objective: What is maximised.

    Returns:
        The trial to take, and why, in a sentence.

    References:
        Breiman et al. Classification and Regression Trees. 1984. Section 3.4.3 (the one-standard-
        error rule).
    """
    sizes = best_of_sizes(trials, objective)
    best = max(sizes, key=lambda trial: trial.mean(objective))
    error = best.standard_error(objective)
    chosen = next(t for t in sizes if t.mean(objective) >= best.mean(objective) - error)
    said = {
        trial.trial_id: f"{trial.mean(objective):.2f} ± {trial.standard_error(objective):.2f}"
        for trial in (chosen, best)
    }
    latent_dim, best_dim = chosen.values["latent_dim"], best.values["latent_dim"]
    taken = f"Take {latent_dim} latent dimension{'s' if latent_dim > 1 else ''}"
    if chosen is best:
        reason = (
            f"{taken}: no other number has a better {objective} than its {said[best.trial_id]} nats"
        )
        if chosen is not sizes[0]:
            reason += ", and no smaller size is within one standard error of it"
        if len(sizes) > 1 and chosen is sizes[-1]:
            reason += "; no larger size was tried, and one may be better still"
    else:
        reason = (
            f"{taken}: the smallest size whose {objective}, "
            f"{said[chosen.trial_id]} nats, is within one standard error of the best, "
            f"{said[best.trial_id]} nats with {best_dim}"
        )
    return chosen, f"{reason}."


def best_of_sizes(trials: Sequence[TrialResult], objective: str) -> list[TrialResult]:
    """The best trial of each latent size, from the smallest size on.

    Args:
        trials: Completed trials.
        objective: What is maximised.
    """
    best: dict[int, TrialResult] = {}
    for trial in trials:
        rival = best.get(trial.values["latent_dim"])
        if rival is None or trial.mean(objective) > rival.mean(objective):
            best[trial.values["latent_dim"]] = trial
    return [best[latent_dim] for latent_dim in sorted(best)]


def write(folder: Path, objective: str) -> SearchResult:
    """Writes the table and the figure of a search, and chooses.

    Args:
        folder: That of the search.
        objective: What was maximised.

    Returns:
        The result.

    Raises:
        InputError: If no trial ended well.
    """
    trials = [read_trial(trial) for trial in ended_trials(folder)]
    table, figure = folder / RESULTS, folder / FIGURE
    _write_table(trials, table)
    completed = [trial for trial in trials if trial.status == TrialStatus.COMPLETED]
    if not completed:
        failure = f"; the first one failed with {trials[0].failure}" if trials else ""
        raise InputError(f"none of the {len(trials)} trials ended well{failure}")
    chosen, reason = choose(completed, objective)
    sizes = best_of_sizes(completed, objective)
    save_figure(drawing.draw(completed, sizes, objective, chosen), figure)
    return SearchResult(
        objective,
        trials=trials,
        chosen=chosen,
        reason=reason,
        lines=_lines(trials, completed, objective, chosen),
        table=table,
        figure=figure,
    )


def _shown(values):
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def _short(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lines(trials, completed, objective, chosen):
    sizes = best_of_sizes(completed, objective)
    names = [name for name in _shown(chosen.values) if name != "latent_dim"]
    header = ["latent_dim", *names, *(f"val_{term}" for term in TERMS), "active units", "seconds"]
    rows = []
    for trial in sizes:
        cells = [str(trial.values["latent_dim"])]
        cells += [_short(trial.values.get(name, "")) for name in names]
        for term in TERMS:
            name = f"val_{term}"
            cells.append(f"{trial.mean(name):.2f} ± {trial.standard_error(name):.2f}")
        cells.append(f"{trial.mean('active_units'):g}")
        cells.append(f"{sum(record['seconds'] for record in trial.executions):.0f}")
        rows.append([*cells, "<- chosen" if trial is chosen else ""])
    widths = [
        max(map(len, column)) for column in zip(header, *(row[:-1] for row in rows), strict=True)
    ]
    executions = max(len(trial.executions) for trial in sizes)
    lines = [
        "On the validation images, mean ± standard error in nats per image"
        + (f", over {executions} executions" if executions > 1 else "")
        + (", the best trial of each size" if len(completed) > len(sizes) else "")
        + ":",
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(header, widths, strict=True)),
    ]
    for row in rows:
        cells = "  ".join(c.rjust(width) for c, width in zip(row[:-1], widths, strict=True))
        lines.append(f"  {cells}  {row[-1]}".rstrip())
    effective = sorted(trial.mean("effective_sample_size") for trial in sizes)
    lines.append(
        f"  (the importance samples of log p(x) are worth {effective[0]:.0f} to "
        f"{effective[-1]:.0f} independent ones, in the median over the images)"
    )
    for trial in trials:
        if trial.status == TrialStatus.FAILED:
            values = ", ".join(f"{n} {_short(v)}" for n, v in _shown(trial.values).items())
            lines.append(f"  trial {trial.trial_id} ({values}) failed: {trial.failure}")
    return lines


def _write_table(trials, file):
    names = list(dict.fromkeys(name for trial in trials for name in _shown(trial.values)))
    header = ["trial", "status", *names, "executions"]
    for term in TERMS:
        header += [f"val_{term}", f"val_{term}_stderr", f"val_{term}_stddev_over_executions"]
    means = ["active_units", "effective_sample_size", "parameters", "epochs", "best_epoch"]
    header += [*means, "seconds", "failure"]
    with atomic_write(file) as path, path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, header, restval="")
        writer.writeheader()
        for trial in trials:
            row = {"trial": trial.trial_id, "status": trial.status, **_shown(trial.values)}
            row |= {"executions": len(trial.executions), "failure": trial.failure or ""}
            if trial.status == TrialStatus.COMPLETED:
                for term in TERMS:
                    name = f"val_{term}"
                    row[name] = trial.mean(name)
                    row[f"{name}_stderr"] = trial.standard_error(name)
                    spread = trial.spread(name)
                    row[f"{name}_stddev_over_executions"] = "" if spread is None else spread
                row |= {name: trial.mean(name) for name in means}
                row["seconds"] = sum(record["seconds"] for record in trial.executions)
            writer.writerow(row)
