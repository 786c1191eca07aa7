"""Out of Python: `tfvae export`, `tfvae publish` and `tfvae request`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfvae.cli.app import app, start
from tfvae.cli.options import DataDirOption, ModelArgument, OverwriteOption, SeveralValues
from tfvae.common.errors import InputError


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
    num_importance_samples: Annotated[
        int,
        typer.Option("--num-importance-samples", help="Importance samples an image, for `score`."),
    ] = 256,
    prune: Annotated[
        int | None, typer.Option(help="Keep this many of the newest versions only.")
    ] = None,
) -> None:
    """Export a model for TensorFlow Serving, or its encoder and decoder for other runtimes."""
    start().export(
        model,
        folder,
        file_format=format,
        image_dtype=image_dtype,
        num_importance_samples=num_importance_samples,
        prune=prune,
        say=typer.echo,
    )


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training run.")],
    folder: Annotated[
        Path, typer.Argument(help="saved_models/NAME: gets the model, a served version, a card.")
    ],
    data_dir: DataDirOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Publish a finished run: its model, a version for TensorFlow Serving and a card."""
    start().publish(run, folder, data_dir=data_dir, overwrite=overwrite, say=typer.echo)


@app.command(cls=SeveralValues)
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
            answer = client.request(
                signature,
                seed=seed or None,
                images=images and requests.read_array(images),
                latents=latents and requests.read_array(latents),
            )
    except serving.ServerError as error:
        typer.echo(f"tfvae: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(requests.write_answer(answer, output))
