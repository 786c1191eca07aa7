"""`tfvae train` and `tfvae recipes`."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tfvae.cli.app import app, load_tensorflow, say
from tfvae.cli.options import (
    COMMON,
    EVALUATION,
    MACHINE,
    Flag,
    JsonOption,
    WorkerCount,
    given,
    options_of,
)
from tfvae.common.errors import InputError
from tfvae.common.files import check_output_file, write_json
from tfvae.training import recipes
from tfvae.training.settings import TrainingSettings


@app.command(sort_key=1)
def train(
    *,
    options: options_of(TrainingSettings) = None,  # type: ignore[valid-type]
    config: Annotated[Path | None, Parameter(group=COMMON)] = None,
    output: Annotated[Path | None, Parameter(group=COMMON)] = None,
    resume: Annotated[Path | None, Parameter(group=COMMON)] = None,
    local_workers: Annotated[WorkerCount | None, Parameter(group=MACHINE)] = None,
    json: Annotated[JsonOption, Parameter(group=EVALUATION)] = None,
    tensorboard: Annotated[Flag, Parameter(group=EVALUATION)] = False,
) -> int | None:
    """Train a model, evaluate it on held-out images, draw and export it.

    Without options: on the embedded handwritten digits, in a minute or two.

    Args:
        config: A TOML or JSON file of settings; options go over it.
        output: The folder of the run, new or empty; if none, the next free runs/DATASET-NUMBER.
        resume: The folder of a run that was killed or stopped, to go on with it; with more
            --epochs, that of one that has ended.
        local_workers: Try multi_worker on this machine: start so many workers, which share its
            cores.
        tensorboard: Write summaries for TensorBoard.
    """
    from tfvae.training import runs

    if resume is not None and output is not None:
        raise InputError("a resumed run stays in its folder: leave --output out")
    if resume is not None and config is None:
        runs.read_run(resume)
        settings = TrainingSettings.of_run(resume / runs.SETTINGS, **given(options))
    else:
        settings = TrainingSettings.merged(config, **given(options))
    if resume is not None:
        runs.check_resumable(resume, settings)
    # The workers get the same command, and a TF_CONFIG.
    if local_workers is not None and "TF_CONFIG" not in os.environ:
        return _run_local_workers(settings, local_workers)
    check_output_file(json)
    load_tensorflow(settings.strategy)
    from tfvae.training import job, strategies

    strategy = strategies.get(settings.strategy)
    is_chief = strategies.is_chief(strategy)
    with runs.folder_of_run(output, resume, settings, is_chief=is_chief, json=json) as folder:
        run = job.train(
            settings,
            folder,
            strategy=strategy,
            with_tensorboard=tensorboard,
            backups=None if resume is None else resume / runs.BACKUP,
            say=say if is_chief else lambda line: None,
        )
        strategies.wait_for_all(strategy)
    if run is None:
        return None
    say(job.describe_results(run.results))
    if json is not None:
        write_json(json, run.results)
    say(f"Model    {folder / runs.MODEL}")
    say(f"Figures  {', '.join(map(str, run.figures)) or 'none: only 1 or 3 channels can be drawn'}")
    say(f"Export   {run.saved_model}")
    if tensorboard:
        say(f"Curves   tensorboard --logdir {folder / runs.TENSORBOARD}")
    say(f"Next     tfvae sample {folder}, or tfvae evaluate {folder} --split validation")
    return None


def _run_local_workers(settings: TrainingSettings, count: int) -> int:
    """Runs this very command in several processes, and ends as they do."""
    from tfvae.training.local_processes import run_workers

    if settings.strategy != "multi_worker":
        raise InputError(f"--local-workers is for --strategy multi_worker; got {settings.strategy}")
    return run_workers([sys.executable, "-m", "tfvae.cli", *sys.argv[1:]], count)


@app.command(name="recipes", sort_key=10)
def list_recipes() -> None:
    """List the recipes of `tfvae train --recipe`, with the published numbers and ours."""
    say("-log p(x) of the test images, in nats per image, mean ± standard error:\n")
    for name in recipes.names():
        recipe = recipes.load(name)
        paper = recipe.paper
        doubt = "" if paper.is_checked else "; quoted from memory, not read in the paper"
        place = f"arXiv:{paper.arxiv}, " if paper.arxiv else ""
        ours = [_describe_result(result, recipe) for result in recipe.ours]
        say(
            f"{name}: {recipe.summary}\n"
            f"  published  {paper.negative_log_likelihood:.2f} ({paper.estimator}{doubt})\n"
            f"  ours       {', '.join(ours) or 'not measured'}\n"
            f"  {paper.authors} {paper.year}, {place}{paper.table}\n"
        )
    say("Run one with `tfvae train --recipe NAME`.")


def _describe_result(result: recipes.Result, recipe: recipes.Recipe) -> str:
    cores = f" on {result.num_cores} cores" if result.num_cores > 1 else ""
    num_samples = result.num_importance_samples or recipe.num_importance_samples
    again = ""
    if result.as_published is not None:
        again = f", {result.as_published:.2f} from as many as the published"
    return (
        f"{result.negative_log_likelihood:.2f} ± {result.standard_error:.2f} (seed {result.seed}, "
        f"{result.seconds / 60:.0f} min{cores}, {num_samples:,} samples{again})"
    )
