"""What is done with a trained model: `tfvae evaluate`, `sample`, `encode` and `plot`."""

from pathlib import Path
from typing import Annotated

import typer

from tfvae.cli.app import app, start
from tfvae.cli.options import (
    BatchSizeOption,
    BinarizationOption,
    DataDirOption,
    DatasetOption,
    JsonOption,
    ModelArgument,
    NumImportanceSamplesOption,
    OverwriteOption,
    SeedOption,
    SplitOption,
    StrategyOption,
)


@app.command()
def evaluate(
    model: ModelArgument,
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    data_dir: DataDirOption = None,
    binarization: BinarizationOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    strategy: StrategyOption = None,
    num_importance_samples: NumImportanceSamplesOption = None,
    json: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Evaluate a model on a split of a data set, by default the test split of its own."""
    # Not the strategy of the training, whose machines may be elsewhere.
    strategy = strategy or "auto"
    start(strategy).evaluate(
        model,
        split=split,
        strategy=strategy,
        num_importance_samples=num_importance_samples,
        json_file=json,
        overwrite=overwrite,
        say=typer.echo,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        batch_size=batch_size,
        seed=seed,
    )


@app.command()
def sample(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option(help="A .png for a grid of images, a .npy for their array.")
    ] = Path("samples.png"),
    count: Annotated[int, typer.Option(help="How many.")] = 64,
    seed: Annotated[
        int | None, typer.Option(help="Of the draw; another one each time if not given.")
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Probabilities instead of binary images.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw images from a model: z from the prior, then x from the decoder."""
    start().sample(
        model, output, count=count, seed=seed, mean=mean, overwrite=overwrite, say=typer.echo
    )


@app.command()
def encode(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option(help="A .npz file, of `mean`, `stddev` and, if known, `label`.")
    ] = Path("latents.npz"),
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    data_dir: DataDirOption = None,
    binarization: BinarizationOption = None,
    batch_size: BatchSizeOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Encode a split of a data set: the mean and the stddev of q(Z|x) of each image."""
    start().encode(
        model,
        output,
        split=split,
        overwrite=overwrite,
        say=typer.echo,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        batch_size=batch_size,
        seed=seed,
    )


@app.command()
def plot(
    model: ModelArgument,
    output: Annotated[Path, typer.Option(help="The folder for the figures.")] = Path("figures"),
    dataset: DatasetOption = None,
    data_dir: DataDirOption = None,
    binarization: BinarizationOption = None,
    seed: SeedOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw samples, reconstructions, latents and training curves of a model."""
    start().plot(
        model,
        output,
        overwrite=overwrite,
        say=typer.echo,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        seed=seed,
    )
