"""`tfvae tune`."""

from pathlib import Path
from typing import Annotated

import rich
from cyclopts import Group, Parameter

from tfvae.cli.app import app, load_tensorflow, say
from tfvae.cli.options import Flag, WorkerCount, given, options_of
from tfvae.training.settings import TrainingSettings
from tfvae.tuning.search_settings import SearchSettings, SearchSpace

SEARCHED = Group("Searched", sort_key=1)
SEARCH = Group("Search", sort_key=2)
SETTINGS = Group("Where nothing is searched", sort_key=3)


TRAINING = (
    *("dataset", "data_dir", "binarization", "network", "precision"),
    *("epochs", "patience", "seed", "strategy"),
)
"""The settings of the training that are options here."""


@app.command(sort_key=9)
def tune(
    *,
    space: options_of(SearchSpace, group=SEARCHED) = None,  # type: ignore[valid-type]
    search: options_of(SearchSettings, group=SEARCH) = None,  # type: ignore[valid-type]
    workers: Annotated[WorkerCount | None, Parameter(group=SEARCH)] = None,
    output: Annotated[Path | None, Parameter(group=SEARCH)] = None,
    export: Annotated[Flag, Parameter(group=SEARCH)] = False,
    options: options_of(TrainingSettings, *TRAINING, group=SETTINGS) = None,  # type: ignore[valid-type]
    config: Annotated[Path | None, Parameter(group=SETTINGS)] = None,
) -> None:
    """Find the latent size: train models of several, compare them, and say which to take.

    Started again with the same output, it goes on where it was. Over several machines: set
    KerasTuner's KERASTUNER_TUNER_ID (chief, or a name for each worker), KERASTUNER_ORACLE_IP and
    KERASTUNER_ORACLE_PORT, and start the same command on each.

    Args:
        workers: Search in so many processes on this machine, which share its processors.
        output: The folder of the search, where one that was cut off goes on; if none,
            runs/tune-DATASET.
        export: Export the chosen model for TensorFlow Serving.
        config: A TOML or JSON file of the settings of train; options go over it.
    """
    settings = TrainingSettings.merged(config, **given(options))
    values, method = SearchSpace(**given(space)), SearchSettings(**given(search))
    load_tensorflow(settings.strategy)
    from tfvae import serving, tuning
    from tfvae.training import runs

    folder = output or Path("runs", f"tune-{settings.dataset.replace('/', '-')}")
    result = tuning.search_dataset(settings, values, method, folder=folder, num_workers=workers)
    if result is None:
        return
    rich.print(result)
    say(result.reason)
    say(f"Table    {result.table}")
    say(f"Figure   {result.figure}")
    say(f"Model    {folder / runs.MODEL}")
    if export:
        saved_model = serving.export_saved_model(runs.load_vae(folder), folder / "saved_model")
        say(f"Export   {saved_model}")
    say(f"HParams  tensorboard --logdir {folder / runs.TENSORBOARD}")
