"""What the commands do: from files of models and data sets to files, and lines to read."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich

from tfvae import serving
from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write, check_output_file
from tfvae.datasets import describe_dataset
from tfvae.figures import image_grid
from tfvae.training import job as training
from tfvae.training import pretrained, publishing, runs, splits, strategies
from tfvae.training.settings import TrainingSettings
from tfvae.tuning.search_settings import SearchSettings, SearchSpace

Say = Callable[[str], None]
"""What a command gives each of its lines to."""


def train(
    settings: TrainingSettings,
    output: Path | None,
    *,
    resume: Path | None,
    split: str | None,
    num_importance_samples: int | None,
    with_tensorboard: bool,
    json_file: Path | None,
    say: Say,
) -> None:
    """Trains a model in a new folder; see `training.train`.

    Args:
        settings: What is trained, on what.
        output: The folder, new or empty; None for the next free one under `runs`.
        resume: The folder of a run that was killed, to go on with it; None for a new run.
        split: Whose images the numbers and figures at the end are of; if None, those of the test
            split, or those that a resumed run was begun with.
        num_importance_samples: Latents per image for log p(x) of these images; if None, what the
            settings say, or what a resumed run was begun with.
        with_tensorboard: Whether to write summaries for TensorBoard.
        json_file: Where else to write the numbers.
        say: Is given each line about how it goes.

    Raises:
        InputError: If something that was given cannot be used.
        WorkerLostError: If another worker has ended.
        OSError: If something cannot be written.
    """
    check_output_file(json_file)
    if num_importance_samples is not None:
        num_importance_samples = check_integer("num_samples", num_importance_samples, minimum=1)
    if resume is not None:
        if output is not None:
            raise InputError("a resumed run stays in its folder: leave --output out")
        _check_same_run(settings, *runs.unfinished_folder(resume))
    begun = runs.Evaluation() if resume is None else runs.read_evaluation(resume)
    strategy = strategies.get(settings.strategy)
    arguments = {
        "strategy": strategy,
        "split": split or begun.split,
        "num_importance_samples": num_importance_samples or begun.num_importance_samples,
        "with_tensorboard": with_tensorboard,
        "backups": None if resume is None else resume / runs.BACKUP,
    }
    if not strategies.is_chief(strategy):
        # What the chief writes is all there is to keep.
        with tempfile.TemporaryDirectory(prefix="tfvae-worker-") as folder:
            training.train(settings, Path(folder), say=lambda line: None, **arguments)
            strategies.wait_for_all(strategy)
        return
    if resume is not None:
        folder = resume
        runs.remove_half_written(folder)
    else:
        folder = runs.new_folder(output, settings.recipe or settings.dataset)
    try:
        run = training.train(settings, folder, say=say, **arguments)
        strategies.wait_for_all(strategy)
    except BaseException:
        # Before anything was learned, nothing stays that would be in the way of the next try.
        if not (folder / runs.MODEL).exists() and not (folder / runs.BACKUP).exists():
            runs.remove_unfinished(folder)
        raise
    say(training.describe_results(run.results))
    _write_json(json_file, run.results)
    say(f"Model    {folder / runs.MODEL}")
    say(f"Figures  {', '.join(map(str, run.figures)) or 'none: only 1 or 3 channels can be drawn'}")
    say(f"Export   {run.saved_model}")
    if with_tensorboard:
        say(f"Curves   tensorboard --logdir {folder / runs.TENSORBOARD}")


def evaluate(
    model: Path,
    *,
    split: str,
    num_importance_samples: int | None,
    json_file: Path | None,
    overwrite: bool,
    say: Say,
    **given: Any,
) -> None:
    """Evaluates a model on a split of a data set.

    Args:
        model: A `.keras` file, the folder of a run, or the name of a pretrained model.
        split: The split.
        num_importance_samples: Latents per image for log p(x); if None, as many as the recipe of
            the run takes, or 500.
        json_file: Where to write the numbers.
        overwrite: Whether to replace that file.
        say: Is given each line to read.
        **given: Settings over those of the run, such as `dataset`; None counts as not given.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    check_output_file(json_file, overwrite=overwrite)
    if num_importance_samples is not None:
        num_importance_samples = check_integer("num_samples", num_importance_samples, minimum=1)
    model = pretrained.find_model(model)
    settings = _settings(model, **given)
    strategy = strategies.get(settings.strategy)
    if not strategies.is_chief(strategy):
        return
    with strategies.scope(strategy):
        vae = runs.load_vae(model)
    results = training.evaluate(
        vae,
        settings,
        split=split,
        num_importance_samples=num_importance_samples or settings.num_importance_samples,
    )
    say(training.describe_results(results))
    _write_json(json_file, results)


def sample(
    model: Path,
    output: Path,
    *,
    count: int,
    seed: int | None,
    mean: bool,
    overwrite: bool,
    say: Say,
) -> None:
    """Draws images from a model into a file.

    Args:
        model: A `.keras` file, the folder of a run, or the name of a pretrained model.
        output: A `.png` file for a grid of images, or a `.npy` file for their array
            `[count, height, width, channels]`.
        count: How many.
        seed: Of the draw; None for another one each time.
        mean: Whether to give probabilities instead of binary images.
        overwrite: Whether to replace the output.
        say: Is given each line to read.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    check_output_file(output, ".png", ".npy", overwrite=overwrite)
    images = runs.load_vae(pretrained.find_model(model)).sample(count, seed=seed, mean=mean).numpy()
    with atomic_write(output) as path:
        if output.suffix == ".npy":
            np.save(path, images)
        else:
            PIL.Image.fromarray(image_grid(images).squeeze()).save(path)
    say(f"{count} samples  {output}")


def encode(
    model: Path, output: Path, *, split: str, overwrite: bool, say: Say, **given: Any
) -> None:
    """Encodes a split of a data set into a file of posterior means and standard deviations.

    Args:
        model: A `.keras` file, the folder of a run, or the name of a pretrained model.
        output: A `.npz` file, of `mean` and `stddev`, float32 `[n, latent_dim]`, and of `label`,
            int64 `[n]`, where the data set has labels.
        split: The split.
        overwrite: Whether to replace the output.
        say: Is given each line to read.
        **given: Settings over those of the run, such as `dataset`; None counts as not given.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    check_output_file(output, ".npz", overwrite=overwrite)
    model = pretrained.find_model(model)
    vae = runs.load_vae(model)
    settings = _settings(model, **given)
    labelled = describe_dataset(settings.dataset, settings.data_dir).class_names is not None
    columns: dict[str, list[np.ndarray]] = {}
    for batch in splits.load_split(settings, split, shuffle=False, with_labels=labelled):
        images, *labels = batch if labelled else (batch,)
        posterior = vae.encode(images)
        row = {"mean": posterior.mean(), "stddev": posterior.stddev()}
        row |= {"label": labels[0]} if labelled else {}
        for name, values in row.items():
            columns.setdefault(name, []).append(values.numpy())
    arrays = {name: np.concatenate(values) for name, values in columns.items()}
    with atomic_write(output) as path:
        np.savez_compressed(path, **arrays)
    say(f"{len(arrays['mean']):,} images encoded ({', '.join(arrays)})  {output}")


def plot(model: Path, output: Path, *, overwrite: bool, say: Say, **given: Any) -> None:
    """Draws the figures of a model.

    Args:
        model: A `.keras` file, the folder of a run, or the name of a pretrained model.
        output: The folder for the figures.
        overwrite: Whether to draw into a folder that is not empty.
        say: Is given each line to read.
        **given: Settings over those of the run, such as `dataset`; None counts as not given.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"the output {output} must be a folder; there is a file")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise InputError(
            f"the folder {output} is not empty: choose another --output, or give --overwrite"
        )
    model = pretrained.find_model(model)
    vae = runs.load_vae(model)
    history = (model if model.is_dir() else model.parent) / runs.HISTORY
    for file in training.write_figures(
        vae,
        _settings(model, **given),
        output,
        history=runs.read_history(history) if history.is_file() else None,
    ):
        say(str(file))


def export(
    model: Path,
    folder: Path,
    *,
    file_format: str,
    image_dtype: str,
    num_importance_samples: int,
    prune: int | None,
    say: Say,
) -> None:
    """Exports a model for TensorFlow Serving, or its networks for other runtimes.

    Args:
        model: A `.keras` file, the folder of a run, or the name of a pretrained model.
        folder: `saved_models/<model>`.
        file_format: `saved_model`, `onnx` or `litert`.
        image_dtype: See `export_saved_model`, as for the next two.
        num_importance_samples: What `score` draws.
        prune: How many of the newest versions stay; all if None.
        say: Is given each line to read.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    vae = runs.load_vae(pretrained.find_model(model))
    if file_format == "saved_model":
        version = serving.export_saved_model(
            vae,
            folder,
            image_dtype=image_dtype,
            num_importance_samples=num_importance_samples,
            prune=prune,
        )
        say(str(version))
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty: choose another, or empty it")
    write = serving.export_onnx if file_format == "onnx" else serving.export_litert
    for file in write(vae, folder):
        say(str(file))


def publish(run: Path, folder: Path, *, data_dir: str | None, overwrite: bool, say: Say) -> None:
    """Publishes a finished run; see `publishing.publish`.

    Args:
        run: The folder of the run.
        folder: `saved_models/<model>`.
        data_dir: The TFDS data directory, where it is not that of the run any more.
        overwrite: Whether a model that is there already is replaced.
        say: Is given each line to read.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    card = publishing.publish(run, folder, data_dir=data_dir, overwrite=overwrite)
    say(f"Model    {folder / runs.MODEL}")
    say(f"Card     {card}")


def tune(
    settings: TrainingSettings,
    space: SearchSpace,
    search: SearchSettings,
    output: Path | None,
    *,
    num_workers: int | None,
    with_export: bool,
    say: Say,
) -> None:
    """Searches the latent size of a data set; see `tuning.search`.

    Args:
        settings: What is trained, on what, where nothing is searched.
        space: The values to choose from.
        search: How the search goes about it.
        output: The folder, new, empty or of the same search; None for `runs/tune-<dataset>`.
        num_workers: How many processes to start on this machine; None for this one alone.
        with_export: Whether to export the chosen model for TensorFlow Serving.
        say: Is given each line about how it goes.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If something cannot be written.
    """
    # KerasTuner takes seconds to import.
    from tfvae import tuning

    folder = output or Path("runs", f"tune-{settings.dataset.replace('/', '-')}")
    result = tuning.search_dataset(settings, space, search, folder=folder, num_workers=num_workers)
    if result is None:
        return
    rich.print(result)
    say(result.reason)
    say(f"Table    {result.table}")
    say(f"Figure   {result.figure}")
    say(f"Model    {folder / runs.MODEL}")
    if with_export:
        vae = runs.load_vae(folder)
        say(f"Export   {serving.export_saved_model(vae, folder / 'saved_model')}")
    say(f"HParams  tensorboard --logdir {folder / runs.TENSORBOARD}")


def _settings(model, **given):
    """The settings of the model's run with those that were given over them."""
    beside = runs.settings_beside(model)
    if beside is None and given.get("dataset") is None:
        raise InputError(
            f"nothing says which images {model} is of: there is no {runs.SETTINGS} beside it. Give "
            "--dataset"
        )
    given = {name: value for name, value in given.items() if value is not None}
    return (beside or TrainingSettings()).replace(**given)


def _check_same_run(settings, folder, recorded):
    """Checks that what is resumed is what was begun, if perhaps on other devices."""
    here, there = settings.model_dump(), recorded.model_dump()
    different = [
        f"{name} is {there[name]!r} there and {here[name]!r} here"
        for name in here
        if name not in ("strategy", "data_dir") and here[name] != there[name]
    ]
    if different:
        raise InputError(
            f"the run in {folder} is another one: {', '.join(different)}. Leave these out to "
            "resume it, or leave --resume out for a new run"
        )


def _write_json(file, results):
    if file is not None:
        runs.write_text(file, json.dumps(results, indent=2) + "\n")
