"""The `tfvae` command: it parses, calls and prints. TensorFlow is imported when a command runs."""

import contextlib
import importlib.metadata
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.core

from tfvae.errors import InputError
from tfvae.search_settings import (
    SearchAlgorithm,
    SearchObjective,
    SearchSettings,
    SearchSpace,
)
from tfvae.settings import Binarization, Network, Precision, TrainingSettings
from tfvae.version import __version__

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
    except OSError as error:
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _fail(message):
    typer.echo(f"tfvae: {message}", err=True)
    sys.exit(2)


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


def _commands():
    with _quiet_start():
        import tensorflow as tf

        from tfvae import commands

        # What is said about devices is said when they are first asked for.
        tf.config.list_logical_devices()
    for library in ("absl", "tensorflow"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.showwarning = _show_warning
    return commands


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Our own warnings are for users; those of the libraries are for us, not for users."""
    if category.__module__.startswith("tfvae."):
        typer.echo(f"tfvae: warning: {message}", err=True)


def _print_versions(asked: bool) -> None:
    if asked:
        typer.echo(f"tfvae {__version__}")
        for package in ("tensorflow", "keras", "tensorflow-probability"):
            typer.echo(f"{package} {importlib.metadata.version(package)}")
        raise typer.Exit


class _SeveralValues(typer.core.TyperCommand):
    """Lets options that may be repeated take several values at once: `--latent-dims 2 4 8`."""

    def parse_args(self, context, arguments):
        repeatable = {
            name
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }
        spread, current, values = [], None, 0
        for argument in arguments:
            if argument.startswith("--") or argument == "-h":
                current, values = argument, 0
            elif current in repeatable:
                values += 1
                spread += [current] if values > 1 else []
            spread.append(argument)
        return super().parse_args(context, spread)


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


@app.command(cls=_SeveralValues)
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
    hidden: Annotated[
        list[int] | None,
        typer.Option(
            help="Units of the hidden layers of an mlp, from the image on.",
            show_default="512 512",
        ),
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
            show_default="as many as make 40,000 steps, from 50 to 200",
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
        config,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        network=network,
        latent_dim=latent_dim,
        hidden=hidden or None,
        precision=precision,
        beta=beta,
        warmup_epochs=warmup_epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        seed=seed,
    )
    commands = _commands()
    commands.train(
        settings,
        output,
        num_importance_samples=num_samples,
        with_tensorboard=tensorboard,
        json_file=json,
        say=typer.echo,
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
    num_samples: NumSamplesOption = 500,
    json: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Evaluate a model on a split of a data set, by default the test split of its own."""
    _commands().evaluate(
        model,
        split=split,
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
        Path, typer.Argument(help="saved_models/NAME; the version is the next number in it.")
    ],
    format: Annotated[
        Literal["saved_model", "onnx", "litert"],
        typer.Option(help="For TensorFlow Serving, ONNX Runtime or LiteRT."),
    ] = "saved_model",
    image_dtype: Annotated[
        Literal["float32", "int8"], typer.Option(help="Of the images that the server takes.")
    ] = "float32",
    num_samples: Annotated[
        int, typer.Option("--num-samples", help="Importance samples an image, for `score`.")
    ] = 256,
    prune: Annotated[
        int | None, typer.Option(help="Keep this many of the newest versions only.")
    ] = None,
) -> None:
    """Export a model for TensorFlow Serving, or its encoder and decoder for other runtimes."""
    _commands().export(
        model,
        folder,
        file_format=format,
        image_dtype=image_dtype,
        num_importance_samples=num_samples,
        prune=prune,
        say=typer.echo,
    )


@app.command(cls=_SeveralValues)
def request(
    signature: Annotated[
        Literal["encode", "decode", "reconstruct", "sample", "score"],
        typer.Argument(help="What is asked of the served model."),
    ],
    output: Annotated[
        Path, typer.Option(help="A .npz for all that is answered, a .png for a grid of images.")
    ],
    model: Annotated[str, typer.Option(help="The name it is served under.")] = "digits",
    host: Annotated[str, typer.Option(help="The server.")] = "localhost",
    port: Annotated[int, typer.Option(help="Its gRPC port.")] = 8500,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of each image, for sample and score: --seed 1 2 3.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="A .npy file of images.")] = None,
    latents: Annotated[Path | None, typer.Option(help="A .npy file of latents.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 10.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Ask a model that TensorFlow Serving serves; needs no TensorFlow."""
    # Not by way of `_commands`, which imports TensorFlow.
    from tfvae import serving
    from tfvae.serving import requests

    if output.exists() and not overwrite:
        raise InputError(f"{output} exists: choose another --output, or give --overwrite")
    try:
        with serving.Client(host, port, model=model, timeout=timeout) as client:
            answer = requests.request(
                client,
                signature,
                seeds=seed or None,
                images=images and requests.read_array(images),
                latents=latents and requests.read_array(latents),
            )
    except serving.ServerError as error:
        typer.echo(f"tfvae: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(requests.write_answer(answer, output))


def _searched(help_text: str):
    return typer.Option(help=help_text, rich_help_panel="Searched")


@app.command(cls=_SeveralValues)
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
    num_samples: NumSamplesOption = 100,
    export: Annotated[
        bool, typer.Option("--export", help="Export the chosen model for TensorFlow Serving.")
    ] = False,
) -> None:
    """Find the latent size: train models of several, compare them, and say which to take.

    Started again with the same output, it goes on where it was. Over several machines: set
    KerasTuner's KERASTUNER_TUNER_ID (chief, or a name for each worker), KERASTUNER_ORACLE_IP and
    KERASTUNER_ORACLE_PORT, and start the same command on each.
    """
    settings = TrainingSettings.merged(
        config,
        dataset=dataset,
        data_dir=data_dir,
        binarization=binarization,
        network=network,
        precision=precision,
        epochs=epochs,
        patience=patience,
        seed=seed,
    )
    space = SearchSpace(
        latent_dims=latent_dims or (),
        latent_range=latent_range,
        networks=networks or (),
        widths=widths or (),
        depths=depths or (),
        learning_rates=learning_rates or (),
        batch_sizes=batch_sizes or (),
        betas=betas or (),
        warmup_epochs=warmups or (),
    )
    search = SearchSettings(
        algorithm=algorithm,
        objective=objective,
        max_trials=max_trials,
        executions_per_trial=executions,
        num_importance_samples=num_samples,
    )
    _commands().tune(
        settings,
        space,
        search,
        output,
        num_workers=workers,
        with_export=export,
        say=typer.echo,
    )
