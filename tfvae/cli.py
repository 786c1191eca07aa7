"""The `tfvae` command: it parses, calls and prints. TensorFlow is imported when a command runs."""

import contextlib
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tfvae.errors import InputError, WorkerLostError
from tfvae.settings import Binarization, Network, Precision, Strategy, TrainingSettings

app = typer.Typer(
    help="Variational autoencoders for Keras and TensorFlow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command: exit code 0 if it was done, 2 if what was given cannot be used."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except WorkerLostError as error:
        _fail(str(error), code=1)
    except OSError as error:
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _fail(message, code=2):
    typer.echo(f"tfvae: {message}", err=True)
    sys.exit(code)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keeps what TensorFlow's libraries print while they load, and shows it if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(terminal, chatter.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _commands(strategy: Strategy = "auto"):
    with _quiet_start():
        import tensorflow as tf

        from tfvae import commands

        # What is said about devices is said when they are first asked for. Several workers must
        # have found each other by then.
        if strategy != "multi_worker":
            tf.config.list_logical_devices()
    for library in ("absl", "tensorflow"):
        logging.getLogger(library).setLevel(logging.ERROR)
    return commands


def _print_versions(asked: bool) -> None:
    if asked:
        for package in ("tfvae", "tensorflow", "keras", "tensorflow-probability"):
            typer.echo(f"{package} {importlib.metadata.version(package)}")
        raise typer.Exit


ModelArgument = Annotated[
    Path, typer.Argument(help="A .keras file, or the folder of a training run.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option(help="digits, mnist, ...: any TFDS data set with one image a record."),
]
DataDirOption = Annotated[str | None, typer.Option(help="The TFDS data directory.")]
SplitOption = Annotated[str, typer.Option(help="train, validation, test, or a TFDS slice of one.")]
BinarizationOption = Annotated[
    Binarization | None, typer.Option(help="How grey images become binary.")
]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images a batch.")]
StrategyOption = Annotated[
    Strategy | None,
    typer.Option(help="The devices: one, all of this machine, or those of TF_CONFIG."),
]
SeedOption = Annotated[int | None, typer.Option(help="Of everything random.")]
NumSamplesOption = Annotated[
    int, typer.Option("--num-samples", help="Importance samples an image, for log p(x).")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the numbers here.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output where it exists.")
]


@app.callback()
def _tfvae(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions."),
    ] = False,
) -> None:
    pass


@app.command()
def train(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="digits, mnist, ...: any TFDS data set with one image a record.",
            show_default="digits",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    binarization: Annotated[
        Binarization | None,
        typer.Option(help="How grey images become binary.", show_default="dynamic"),
    ] = None,
    network: Annotated[
        Network | None, typer.Option(help="The kind of encoder and decoder.", show_default="mlp")
    ] = None,
    latent_dim: Annotated[
        int | None, typer.Option(help="The number of latent dimensions.", show_default="32")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="A Keras dtype policy.", show_default="float32")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="The weight of the KL.", show_default="1")
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(help="First epochs in which that weight rises from 0.", show_default="0"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="At the start; it falls along a cosine.", show_default="0.001"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step.", show_default="128")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training images.",
            show_default="as many as make 25,000 steps, from 50 to 200",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a better validation ELBO until training stops.",
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
    num_samples: NumSamplesOption = 500,
    json: JsonOption = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write summaries for TensorBoard.")
    ] = False,
) -> None:
    """Train a model, evaluate it on held-out images, draw and export it.

    Without options: on the embedded handwritten digits, in a minute or two.
    """
    settings = TrainingSettings.merged(
        resume / "settings.json" if resume and not config else config,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        network=network,
        latent_dim=latent_dim,
        precision=precision,
        beta=beta,
        warmup_epochs=warmup_epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        seed=seed,
        strategy=strategy,
    )
    # The workers get the same command, and a TF_CONFIG.
    if local_workers is not None and "TF_CONFIG" not in os.environ:
        _run_local_workers(settings, local_workers)
    commands = _commands(settings.strategy)
    commands.train(
        settings,
        output,
        resume=resume,
        num_importance_samples=num_samples,
        with_tensorboard=tensorboard,
        json_file=json,
        say=typer.echo,
    )


def _run_local_workers(settings: TrainingSettings, count: int) -> None:
    """Runs this very command in several processes, and exits as they do."""
    from tfvae import workers

    if settings.strategy != "multi_worker":
        raise InputError(f"--local-workers is for --strategy multi_worker; got {settings.strategy}")
    command = [sys.executable, "-m", "tfvae", *sys.argv[1:]]
    raise typer.Exit(workers.run_local_workers(command, count))


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
    num_samples: NumSamplesOption = 500,
    json: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Evaluate a model on a split of a data set, by default the test split of its own."""
    # Not the strategy of the training, whose machines may be elsewhere.
    strategy = strategy or "auto"
    _commands(strategy).evaluate(
        model,
        split=split,
        strategy=strategy,
        num_importance_samples=num_samples,
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
    _commands().sample(
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
    _commands().encode(
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
    _commands().plot(
        model,
        output,
        overwrite=overwrite,
        say=typer.echo,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        seed=seed,
    )


@app.command()
def export(
    model: ModelArgument,
    folder: Annotated[
        Path, typer.Argument(help="saved_models/MODEL; the version is the next number in it.")
    ],
    prune: Annotated[
        int | None, typer.Option(help="Keep this many of the newest versions only.")
    ] = None,
) -> None:
    """Export a model for TensorFlow Serving."""
    _commands().export(model, folder, prune=prune, say=typer.echo)
