"""Out of Python: `tfvae export`, `tfvae publish` and `tfvae request`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import Field

from tfvae.cli.app import app, load_tensorflow, say
from tfvae.cli.options import DataDirOption, ModelArgument, OverwriteOption
from tfvae.common.errors import InputError
from tfvae.common.files import check_output_file, check_output_folder
from tfvae.training.settings import Count, PositiveNumber, Size, Text

Int64 = Annotated[int, Field(ge=0, le=2**63 - 1)]
FolderArgument = Annotated[
    Path, Parameter(help="saved_models/NAME; the version is the next number in it.")
]


@app.command(sort_key=6)
def export(
    model: ModelArgument,
    folder: FolderArgument,
    /,
    *,
    format: Literal["saved_model", "onnx", "litert"] = "saved_model",
    image_dtype: Literal["float32", "int8"] = "float32",
    num_importance_samples: Size = 256,
    prune: Count | None = None,
) -> None:
    """Export a model for TensorFlow Serving, or its encoder and decoder for other runtimes.

    Args:
        format: For TensorFlow Serving, ONNX Runtime or LiteRT.
        image_dtype: The type of the images that the server takes.
        num_importance_samples: The importance samples per image of the signature score.
        prune: Keep only this many of the newest versions.
    """
    load_tensorflow()
    from tfvae import serving
    from tfvae.training import pretrained, runs

    vae = runs.load_vae(pretrained.find_model(model))
    if format == "saved_model":
        version = serving.export_saved_model(
            vae,
            folder,
            image_dtype=image_dtype,
            num_importance_samples=num_importance_samples,
            prune=prune,
        )
        say(version)
        return
    check_output_folder(folder)
    write = serving.export_onnx if format == "onnx" else serving.export_litert
    for file in write(vae, folder):
        say(file)


@app.command(sort_key=7)
def publish(
    run: Path,
    folder: FolderArgument,
    /,
    *,
    data_dir: DataDirOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Publish a finished run: its model, a version for TensorFlow Serving and a card.

    Args:
        run: The folder of a finished training run.
    """
    load_tensorflow()
    from tfvae.training import publishing, runs

    card = publishing.publish(run, folder, data_dir=data_dir, overwrite=overwrite)
    say(f"Model    {folder / runs.MODEL}")
    say(f"Card     {card}")


@app.command(sort_key=7)
def configure(
    folder: Path,
    /,
    *,
    label: Annotated[list[Text] | None, Parameter(negative_iterable=())] = None,
) -> None:
    """Write the configuration of TensorFlow Serving for a folder of models.

    Args:
        folder: saved_models, with a folder for each model.
        label: The labels of a model, in place of those that it has: MODEL:LABEL=VERSION ...
    """
    from tfvae import serving

    labels: dict[str, dict[str, int]] = {}
    for word in label or ():
        model, _, rest = word.rpartition(":")
        name, _, version = rest.partition("=")
        if not (model and name and version.isascii() and version.isdigit()):
            raise InputError(f"--label must be MODEL:LABEL=VERSION; got {word!r}")
        labels.setdefault(model, {})[name] = int(version)
    files, waiting = serving.write_server_configuration(folder, labels=labels)
    for file in files:
        say(file)
    for model, of_model in waiting.items():
        for name, version in of_model.items():
            say(
                f"The label {name} moves to version {version} with the same command, once the "
                f"server has loaded it: http://localhost:8501/v1/models/{model}/versions/{version}"
            )


@app.command(sort_key=8)
def request(
    signature: Literal["encode", "decode", "reconstruct", "sample", "score"],
    /,
    *,
    output: Path,
    model: Text = "digits",
    host: Text = "localhost",
    port: Annotated[int, Field(ge=1, le=65_535)] = 8500,
    seed: Annotated[list[Int64] | None, Parameter(negative_iterable=())] = None,
    images: Path | None = None,
    latents: Path | None = None,
    timeout: PositiveNumber = 10.0,
    overwrite: OverwriteOption = False,
) -> int:
    """Ask a model that TensorFlow Serving serves; needs no TensorFlow.

    Args:
        signature: What is asked of the served model.
        output: A .npz for all that is answered, or a .png for a grid of images.
        model: The name that it is served under.
        host: The server.
        port: Its gRPC port.
        seed: The seed of each image, for sample and score: --seed 1 2 3.
        images: A .npy file of images.
        latents: A .npy file of latents.
        timeout: The seconds to wait for an answer.
    """
    from tfvae import serving
    from tfvae.serving import requests

    check_output_file(output, ".npz", ".png", overwrite=overwrite)
    try:
        with serving.Client(host, port, model=model, timeout=timeout) as client:
            answer = client.request(
                signature,
                seed=seed,
                images=None if images is None else requests.read_array(images),
                latents=None if latents is None else requests.read_array(latents),
            )
    except serving.ServerError as error:
        print(f"tfvae: {error}", file=sys.stderr)
        return 1
    say(requests.write_answer(answer, output))
    return 0
