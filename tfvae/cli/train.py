"""`tfvae train` and `tfvae recipes`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tfvae.cli.app import app, load_tensorflow, say
from tfvae.cli.options import (
    COMMON,
    DEVICES,
    EVALUATION,
    Flag,
    JsonOption,
    WorkerCount,
    given,
    options_of,
    write_json,
)
from tfvae.common.errors import InputError
from tfvae.common.files import check_output_file
from tfvae.training import recipes
from tfvae.training.settings import Count, Text, TrainingSettings


class TrainOptions(options_of(TrainingSettings)):  # type: ignore[misc]
    """The settings that are given as options."""


@app.command(sort_key=1)
def train(
    *,
    options: Annotated[TrainOptions | None, Parameter(name="*")] = None,
    config: Annotated[Path | None, Parameter(group=COMMON)] = None,
    output: Annotated[Path | None, Parameter(group=COMMON)] = None,
    resume: Annotated[Path | None, Parameter(group=COMMON)] = None,
    local_workers: Annotated[WorkerCount | None, Parameter(group=DEVICES)] = None,
    split: Annotated[Text | None, Parameter(group=EVALUATION)] = None,
    num_importance_samples: Annotated[Count | None, Parameter(group=EVALUATION)] = None,
    json: Annotated[JsonOption, Parameter(group=EVALUATION)] = None,
    tensorboard: Annotated[Flag, Parameter(group=EVALUATION)] = False,
) -> int | None:
    """Train a model, evaluate it on held-out images, draw and export it.

    Without options: on the embedded handwritten digits, in a minute or two.

    Args:
        options: The settings.
        config: A TOML or JSON file of settings; options go over it.
        output: The folder of the run, new or empty; if none, the next free runs/DATASET-NUMBER.
        resume: The folder of a run that was killed, to go on with it.
        local_workers: Try multi_worker on this machine: start so many workers, which share its
            cores.
        split: Whose images the numbers and figures at the end are of; validation where settings
            are still to be chosen; if none, test.
        num_importance_samples: The importance samples per image for log p(x); if none, 500, or
            those of the recipe.
        tensorboard: Write summaries for TensorBoard.
    """
    if resume is not None and config is None:
        settings = TrainingSettings.of_run(resume / "settings.json", **given(options))
    else:
        settings = TrainingSettings.merged(config, **given(options))
    # The workers get the same command, and a TF_CONFIG.
    if local_workers is not None and "TF_CONFIG" not in os.environ:
        return _run_local_workers(settings, local_workers)
    check_output_file(json)
    load_tensorflow(settings.strategy)
    from tfvae.training import job, runs, strategies

    evaluation = runs.Evaluation()
    if resume is not None:
        if output is not None:
            raise InputError("a resumed run stays in its folder: leave --output out")
        _check_same_run(settings, *runs.unfinished_folder(resume))
        evaluation = runs.read_evaluation(resume)
    strategy = strategies.get(settings.strategy)
    arguments: dict[str, Any] = {
        "strategy": strategy,
        "split": split or evaluation.split,
        "num_importance_samples": num_importance_samples or evaluation.num_importance_samples,
        "with_tensorboard": tensorboard,
        "backups": None if resume is None else resume / runs.BACKUP,
    }
    if not strategies.is_chief(strategy):
        # What the chief writes is all there is to keep.
        with tempfile.TemporaryDirectory(prefix="tfvae-worker-") as folder:
            job.train(settings, Path(folder), say=lambda line: None, **arguments)
            strategies.wait_for_all(strategy)
        return None
    if resume is not None:
        folder = resume
        runs.remove_half_written(folder)
    else:
        folder = runs.new_folder(output, settings.recipe or settings.dataset)
    try:
        run = job.train(settings, folder, say=say, **arguments)
        strategies.wait_for_all(strategy)
    except BaseException:
        # Before anything was learned, nothing stays that would be in the way of the next try.
        if not (folder / runs.MODEL).exists() and not (folder / runs.BACKUP).exists():
            runs.remove_unfinished(folder)
        raise
    if run is None:
        return None
    say(job.describe_results(run.results))
    write_json(json, run.results)
    say(f"Model    {folder / runs.MODEL}")
    say(f"Figures  {', '.join(map(str, run.figures)) or 'none: only 1 or 3 channels can be drawn'}")
    say(f"Export   {run.saved_model}")
    if tensorboard:
        say(f"Curves   tensorboard --logdir {folder / runs.TENSORBOARD}")
    return None


def _run_local_workers(settings: TrainingSettings, count: int) -> int:
    """Runs this very command in several processes, and ends as they do."""
    from tfvae.training.local_workers import run_local_workers

    if settings.strategy != "multi_worker":
        raise InputError(f"--local-workers is for --strategy multi_worker; got {settings.strategy}")
    return run_local_workers([sys.executable, "-m", "tfvae.cli", *sys.argv[1:]], count)


def _check_same_run(settings: TrainingSettings, folder: Path, recorded: TrainingSettings) -> None:
    """Checks that what is resumed is what was begun, if perhaps on other devices."""
    different = [
        f"{name} is {there!r} there and {getattr(settings, name)!r} here"
        for name, there in recorded
        if name not in ("strategy", "data_dir") and getattr(settings, name) != there
    ]
    if different:
        raise InputError(
            f"the run in {folder} is another one: {', '.join(different)}. Leave these out to "
            "resume it, or leave --resume out for a new run"
        )


@app.command(name="recipes", sort_key=10)
def list_recipes() -> None:
    """List the recipes of `tfvae train --recipe`, with the published numbers and ours."""
    say("-log p(x) of the test images, in nats per image, mean ± standard error:\n")
    for name in recipes.names():
        recipe = recipes.load(name)
        paper = recipe.paper
        ours = [_describe_result(result, recipe) for result in recipe.ours]
        place = f"arXiv:{paper.arxiv}, " if paper.arxiv else ""
        doubt = "" if paper.is_checked else "; quoted from memory, not read in the paper"
        say(f"{name}: {recipe.summary}")
        say(f"  published  {paper.negative_log_likelihood:.2f} ({paper.estimator}{doubt})")
        say(f"  ours       {', '.join(ours) or 'not measured'}")
        say(f"  {paper.authors} {paper.year}, {place}{paper.table}\n")
    say("Run one with `tfvae train --recipe NAME`.")


def _describe_result(result: recipes.Result, recipe: recipes.Recipe) -> str:
    cores = f" on {result.num_cores} cores" if result.num_cores > 1 else ""
    details = [
        f"seed {result.seed}",
        f"{result.seconds / 60:.0f} min{cores}",
        f"{result.num_importance_samples or recipe.num_importance_samples:,} samples",
    ]
    if result.as_published is not None:
        details.append(f"{result.as_published:.2f} from as many as the published")
    number = f"{result.negative_log_likelihood:.2f} ± {result.standard_error:.2f}"
    return f"{number} ({', '.join(details)})"
