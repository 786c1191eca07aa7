"""`tfvae tune`."""

from pathlib import Path
from typing import Annotated

import typer

from tfvae.cli.app import app, start
from tfvae.cli.options import (
    BinarizationOption,
    DataDirOption,
    DatasetOption,
    SeedOption,
    SeveralValues,
    StrategyOption,
)
from tfvae.training.settings import Network, Precision, TrainingSettings
from tfvae.tuning.search_settings import (
    SearchAlgorithm,
    SearchObjective,
    SearchSettings,
    SearchSpace,
)


def _searched(help_text: str):
    return typer.Option(help=help_text, rich_help_panel="Searched")


@app.command(cls=SeveralValues)
def tune(
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    latent_dims: Annotated[
        list[int] | None, _searched("The latent sizes: 2 4 8 16 32 64 if nothing is given.")
    ] = None,
    latent_range: Annotated[
        tuple[int, int] | None, _searched("The smallest and the largest latent size, instead.")
    ] = None,
    networks: Annotated[
        list[str] | None, _searched("Kinds of encoder and decoder: mlp, conv, resnet.")
    ] = None,
    widths: Annotated[
        list[int] | None, _searched("Units of the hidden layers; 512 is that of train.")
    ] = None,
    depths: Annotated[list[int] | None, _searched("Hidden layers; 2 is that of train.")] = None,
    learning_rates: Annotated[list[float] | None, _searched("At the start.")] = None,
    batch_sizes: Annotated[list[int] | None, _searched("Images a step.")] = None,
    betas: Annotated[list[float] | None, _searched("Weights of the KL.")] = None,
    warmups: Annotated[
        list[int] | None, _searched("First epochs in which that weight rises from 0.")
    ] = None,
    algorithm: Annotated[SearchAlgorithm, typer.Option(help="KerasTuner's.")] = "GridSearch",
    objective: Annotated[
        SearchObjective,
        typer.Option(help="Of the validation images: the ELBO, or log p(x) by importance samples."),
    ] = "val_elbo",
    max_trials: Annotated[
        int | None,
        typer.Option(help="The most trials.", show_default="10; the whole of a grid"),
    ] = None,
    executions: Annotated[
        int, typer.Option(help="How often each model is trained, from seeds of its own.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Search in this many processes on this machine, which share its processors.",
            show_default="this one alone",
        ),
    ] = None,
    binarization: BinarizationOption = None,
    network: Annotated[
        Network | None, typer.Option(help="Where it is not searched.", show_default="mlp")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="A Keras dtype policy.", show_default="float32")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="The most of a trial.", show_default="as train has them"),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a better validation ELBO until a trial stops.",
            show_default="a tenth of the epochs, at least 10",
        ),
    ] = None,
    seed: SeedOption = None,
    strategy: StrategyOption = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML or JSON file of the settings of train; options go over it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the search; one that was cut off there goes on.",
            show_default="runs/tune-DATASET",
        ),
    ] = None,
    num_importance_samples: Annotated[
        int, typer.Option(help="Importance samples an image, for log p(x).")
    ] = 100,
    export: Annotated[
        bool, typer.Option("--export", help="Export the chosen model for TensorFlow Serving.")
    ] = False,
) -> None:
    """Find the latent size: train models of several, compare them, and say which to take.

    Started again with the same output, it goes on where it was. Over several machines: set
    KerasTuner's KERASTUNER_TUNER_ID (chief, or a name for each worker), KERASTUNER_ORACLE_IP and
    KERASTUNER_ORACLE_PORT, and start the same command on each.
    """
    given = dict(
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        network=network,
        precision=precision,
        epochs=epochs,
        patience=patience,
        seed=seed,
        strategy=strategy,
    )
    given = {name: value for name, value in given.items() if value is not None}
    settings = TrainingSettings.merged(config, **given)
    values = dict(
        latent_dims=latent_dims,
        latent_range=latent_range,
        networks=networks,
        widths=widths,
        depths=depths,
        learning_rates=learning_rates,
        batch_sizes=batch_sizes,
        betas=betas,
        warmups=warmups,
    )
    space = SearchSpace(**{name: value for name, value in values.items() if value})
    search = SearchSettings(
        algorithm=algorithm,
        objective=objective,
        max_trials=max_trials,
        executions=executions,
        num_importance_samples=num_importance_samples,
    )
    start().tune(
        settings,
        space,
        search,
        output,
        num_workers=workers,
        with_export=export,
        say=typer.echo,
    )
