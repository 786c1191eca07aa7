"""`tfvae train`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tfvae.cli.app import app, start
from tfvae.cli.options import (
    JsonOption,
    NumImportanceSamplesOption,
    SeveralValues,
    StrategyOption,
)
from tfvae.common.errors import InputError
from tfvae.common.validation import NONE
from tfvae.training.settings import (
    Activation,
    Binarization,
    DecoderBias,
    GradientEstimator,
    LearningRateSchedule,
    Network,
    ObjectiveName,
    Precision,
    TrainingSettings,
)


def _or_none(number: type) -> Callable[[str], Any]:
    """A parser of numbers, or of the word that takes away what a recipe sets."""

    def parse(text: str) -> Any:
        try:
            return text if text == NONE else number(text)
        except ValueError as error:
            kind = "an integer" if number is int else "a number"
            raise typer.BadParameter(f"must be {kind} or {NONE}; got {text!r}") from error

    return parse


# How `--help` groups the options.
DATA, MODEL, OBJECTIVE, OPTIMIZATION = "Data", "Model", "Objective", "Optimization"


@app.command(cls=SeveralValues)
def train(
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Settings of a model of the literature, see `tfvae recipes`; options go over them."
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=DATA,
            help="digits, mnist, ...: any TFDS data set with one image a record.",
            show_default="digits",
        ),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(rich_help_panel=DATA, help="The TFDS data directory.")
    ] = None,
    binarization: Annotated[
        Binarization | None,
        typer.Option(
            rich_help_panel=DATA, help="How grey images become binary.", show_default="dynamic"
        ),
    ] = None,
    num_validation_images: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=DATA,
            help="How many images at the end of train choose the epoch, where the data set has no "
            "validation split.",
            show_default="a tenth",
        ),
    ] = None,
    network: Annotated[
        Network | None,
        typer.Option(
            rich_help_panel=MODEL, help="The kind of encoder and decoder.", show_default="mlp"
        ),
    ] = None,
    latent_dim: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=MODEL, help="The number of latent dimensions.", show_default="32"
        ),
    ] = None,
    hidden: Annotated[
        list[int] | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="Units of the hidden layers, from the image on; one for a conv or resnet.",
            show_default="512 512; 256",
        ),
    ] = None,
    filters: Annotated[
        list[int] | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="Filters of the stages of a conv or resnet, from the image on.",
            show_default="32 64",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="Residual blocks of each stage of a resnet.",
            show_default="2",
        ),
    ] = None,
    batch_normalization: Annotated[
        bool | None,
        typer.Option(
            "--batch-normalization",
            rich_help_panel=MODEL,
            help="Before each activation of a resnet's blocks.",
            show_default="no",
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="Of the hidden layers; glu (gated layers) for an mlp only.",
            show_default="relu; elu for a resnet",
        ),
    ] = None,
    decoder_bias: Annotated[
        DecoderBias | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="Of the logits at the start; data_mean gives each pixel its mean probability.",
            show_default="zeros",
        ),
    ] = None,
    initial_model: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=MODEL,
            help="A .keras file, run or pretrained model, whose weights training starts from.",
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(rich_help_panel=MODEL, help="A Keras dtype policy.", show_default="float32"),
    ] = None,
    objective: Annotated[
        ObjectiveName | None,
        typer.Option(rich_help_panel=OBJECTIVE, help="What is maximized.", show_default="elbo"),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OBJECTIVE,
            help="Latents that the objective draws in a step.",
            show_default="1",
        ),
    ] = None,
    num_resampled: Annotated[
        int | None,
        typer.Option(
            parser=_or_none(int),
            metavar="<int or none>",
            rich_help_panel=OBJECTIVE,
            help="Of the latents drawn, those that iwae's gradient passes through.",
            show_default="all",
        ),
    ] = None,
    gradient_estimator: Annotated[
        GradientEstimator | None,
        typer.Option(
            rich_help_panel=OBJECTIVE,
            help="How iwae estimates the encoder's gradient.",
            show_default="reparameterized",
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(rich_help_panel=OBJECTIVE, help="The weight of the KL.", show_default="1"),
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OBJECTIVE,
            help="First epochs in which that weight rises from 0.",
            show_default="0",
        ),
    ] = None,
    free_bits: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OBJECTIVE,
            help="Nats that the KL of each latent has free.",
            show_default="0",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION, help="Of Adam, at the start.", show_default="0.001"
        ),
    ] = None,
    learning_rate_schedule: Annotated[
        LearningRateSchedule | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION,
            metavar="<schedule>",
            help="cosine to 0, constant, or piecewise down to a tenth.",
            show_default="cosine",
        ),
    ] = None,
    gradient_clipping: Annotated[
        float | None,
        typer.Option(
            parser=_or_none(float),
            metavar="<float or none>",
            rich_help_panel=OPTIMIZATION,
            help="The greatest norm of the gradient.",
            show_default="none",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            parser=_or_none(float),
            metavar="<float or none>",
            rich_help_panel=OPTIMIZATION,
            help="The part by which weights shrink in a step, times the learning rate.",
            show_default="none",
        ),
    ] = None,
    average_weights: Annotated[
        float | None,
        typer.Option(
            parser=_or_none(float),
            metavar="<float or none>",
            rich_help_panel=OPTIMIZATION,
            help="Validate and keep a moving average of the weights, of this momentum (0.999).",
            show_default="off",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(rich_help_panel=DATA, help="Images a step.", show_default="128")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION,
            help="Passes over the training images.",
            show_default="as many as make 40,000 steps, from 50 to 200",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OPTIMIZATION,
            help="Epochs without a better validation objective until training stops.",
            show_default="a tenth of the epochs, at least 10",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random.", show_default="0")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML or JSON file of the settings above; options go over it."),
    ] = None,
    strategy: StrategyOption = None,
    local_workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Try multi_worker on this machine: start so many workers, which share its cores.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="The folder of a run that was killed: goes on with it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the run, new or empty.", show_default="runs/DATASET-NUMBER"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Whose images the numbers and figures at the end are of: validation, where "
            "settings are still to be chosen.",
            show_default="test",
        ),
    ] = None,
    num_importance_samples: NumImportanceSamplesOption = None,
    json: JsonOption = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write summaries for TensorBoard.")
    ] = False,
) -> None:
    """Train a model, evaluate it on held-out images, draw and export it.

    Without options: on the embedded handwritten digits, in a minute or two.
    """
    given = dict(
        recipe=recipe,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        num_validation_images=num_validation_images,
        network=network,
        latent_dim=latent_dim,
        hidden=hidden or None,
        filters=filters or None,
        blocks=blocks,
        batch_normalization=batch_normalization,
        activation=activation,
        decoder_bias=decoder_bias,
        initial_model=initial_model,
        precision=precision,
        objective=objective,
        num_samples=num_samples,
        num_resampled=num_resampled,
        gradient_estimator=gradient_estimator,
        beta=beta,
        warmup_epochs=warmup_epochs,
        free_bits=free_bits,
        learning_rate=learning_rate,
        learning_rate_schedule=learning_rate_schedule,
        gradient_clipping=gradient_clipping,
        weight_decay=weight_decay,
        average_weights=average_weights,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        seed=seed,
        strategy=strategy,
    )
    given = {name: value for name, value in given.items() if value is not None}
    if resume is not None and config is None:
        settings = TrainingSettings.of_run(resume / "settings.json", **given)
    else:
        settings = TrainingSettings.merged(config, **given)
    # The workers get the same command, and a TF_CONFIG.
    if local_workers is not None and "TF_CONFIG" not in os.environ:
        _run_local_workers(settings, local_workers)
    commands = start(settings.strategy)
    commands.train(
        settings,
        output,
        resume=resume,
        split=split,
        num_importance_samples=num_importance_samples,
        with_tensorboard=tensorboard,
        json_file=json,
        say=typer.echo,
    )


def _run_local_workers(settings: TrainingSettings, count: int) -> None:
    """Runs this very command in several processes, and exits as they do."""
    from tfvae.training import local_workers as workers

    if settings.strategy != "multi_worker":
        raise InputError(f"--local-workers is for --strategy multi_worker; got {settings.strategy}")
    command = [sys.executable, "-m", "tfvae.cli", *sys.argv[1:]]
    raise typer.Exit(workers.run_local_workers(command, count))
