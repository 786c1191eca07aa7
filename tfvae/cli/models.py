"""What is done with a trained model: `tfvae evaluate`, `sample`, `encode` and `plot`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.cli.app import app, load_tensorflow, say
from tfvae.cli.options import (
    DATA,
    EVALUATED,
    Flag,
    JsonOption,
    ModelArgument,
    OverwriteOption,
    given,
    options_of,
)
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, check_output_file, check_output_folder, write_json
from tfvae.training.settings import Seed, Size, TrainingSettings

if TYPE_CHECKING:
    from tfvae.vae import VAE


@app.command(sort_key=2)
def evaluate(
    model: ModelArgument,
    /,
    *,
    options: options_of(TrainingSettings, *EVALUATED, show_default=False) = None,  # type: ignore[valid-type]
    json: JsonOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Evaluate a model on a split of a data set.

    The settings are those of its training, and the split is test, where no others are given.
    """
    check_output_file(json, overwrite=overwrite)
    load_tensorflow()
    from tfvae.training import job

    results = job.evaluate(*_load(model, **given(options)))
    say(job.describe_results(results))
    if json is not None:
        write_json(json, results)


@app.command(sort_key=3)
def sample(
    model: ModelArgument,
    /,
    *,
    output: Path = Path("samples.png"),
    count: Size = 64,
    seed: Seed | None = None,
    mean: Flag = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw images from a model: z from the prior, then x from the decoder.

    Args:
        output: A .png for a grid of images, or a .npy for their array.
        count: How many images.
        seed: The seed of the draw; if none, another one each time.
        mean: Give probabilities instead of binary images.
    """
    check_output_file(output, ".png", ".npy", overwrite=overwrite)
    load_tensorflow()
    import numpy as np
    import PIL.Image

    from tfvae.figures import image_grid
    from tfvae.training import pretrained, runs

    images = runs.load_vae(pretrained.find_model(model)).sample(count, seed=seed, mean=mean).numpy()
    with atomic_write(output) as path:
        if output.suffix == ".npy":
            np.save(path, images)
        else:
            PIL.Image.fromarray(image_grid(images).squeeze()).save(path)
    say(f"{count} samples  {output}")


@app.command(sort_key=4)
def encode(
    model: ModelArgument,
    /,
    *,
    output: Path = Path("latents.npz"),
    options: options_of(TrainingSettings, *DATA, "split", show_default=False) = None,  # type: ignore[valid-type]
    overwrite: OverwriteOption = False,
) -> None:
    """Encode a split of a data set: the mean and the stddev of q(Z|x) of each image.

    Args:
        output: A .npz file for mean, stddev and, where the data set has labels, label.
    """
    check_output_file(output, ".npz", overwrite=overwrite)
    load_tensorflow()
    import numpy as np

    from tfvae.datasets import describe_dataset
    from tfvae.training import splits

    vae, settings = _load(model, **given(options))
    has_labels = describe_dataset(settings.dataset, settings.data_dir).class_names is not None
    columns: dict[str, list[np.ndarray]] = {}
    for batch in splits.load_split(settings, settings.split, shuffle=False, with_labels=has_labels):
        images, *labels = batch if has_labels else (batch,)
        posterior = vae.encode(images)
        row = {"mean": posterior.mean(), "stddev": posterior.stddev()}
        row |= {"label": labels[0]} if has_labels else {}
        for name, values in row.items():
            columns.setdefault(name, []).append(values.numpy())
    arrays: dict[str, Any] = {name: np.concatenate(rows) for name, rows in columns.items()}
    with atomic_write(output) as path:
        np.savez_compressed(path, **arrays)
    say(f"{len(arrays['mean']):,} images encoded ({', '.join(arrays)})  {output}")


@app.command(sort_key=5)
def plot(
    model: ModelArgument,
    /,
    *,
    output: Path = Path("figures"),
    data: options_of(TrainingSettings, *DATA, show_default=False) = None,  # type: ignore[valid-type]
    overwrite: OverwriteOption = False,
) -> None:
    """Draw samples, reconstructions, latents and training curves of a model.

    Args:
        output: The folder for the figures.
    """
    check_output_folder(output, overwrite=overwrite)
    load_tensorflow()
    from tfvae.training import job, pretrained, runs

    vae, settings = _load(model, **given(data))
    path = pretrained.find_model(model)
    history = (path if path.is_dir() else path.parent) / runs.HISTORY
    for file in job.write_figures(
        vae, settings, output, history=runs.read_history(history) if history.is_file() else None
    ):
        say(file)


def _load(model: Path, **changes: Any) -> tuple["VAE", TrainingSettings]:
    """A model, and the settings of its run with the changes that were given."""
    from tfvae.training import pretrained, runs

    path = pretrained.find_model(model)
    settings = runs.settings_beside(path)
    if settings is None and "dataset" not in changes:
        raise InputError(
            f"nothing says which images {path} is of: there is no {runs.SETTINGS} beside it. Give "
            "--dataset"
        )
    changes.setdefault("split", "test")
    return runs.load_vae(path), (settings or TrainingSettings()).replace(**changes)
