"""How large should z be? A KerasTuner search over the latent size of a VAE."""

import errno
import os
from pathlib import Path
from typing import Any

import keras_tuner

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.errors import InputError
from tfvae.common.files import (
    LOCK,
    atomic_write,
    locked,
    read_json,
    remove_half_written,
    write_json,
    write_text,
)
from tfvae.datasets import describe_dataset
from tfvae.figures import save_figure
from tfvae.training import runs, splits
from tfvae.training.backups import read_arrays
from tfvae.training.settings import EVALUATION, MACHINE, TrainingSettings
from tfvae.tuning import processes
from tfvae.tuning.hypermodel import VAEHyperModel
from tfvae.tuning.results import SearchResult, read_search
from tfvae.tuning.search_figure import draw
from tfvae.tuning.search_settings import SearchSettings, SearchSpace
from tfvae.tuning.trials import WEIGHTS, TrialTuner
from tfvae.vae import VAE

DEFINITION = "search.json"
"""In the folder of a search: what is searched, so that no other search goes on there."""

# The processes of a search that was just killed take a moment to notice.
SECONDS_TO_WAIT_FOR_LOCK = 5.0


def search(
    hypermodel: VAEHyperModel,
    images: Any,
    validation_images: Any,
    settings: SearchSettings | None = None,
    *,
    folder: str | os.PathLike,
    num_workers: int | None = None,
) -> SearchResult | None:
    """Searches the latent size, and what else the hypermodel leaves open.

    A search that was killed goes on where it was when it is started again with the same folder.
    With KerasTuner's variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT`, the same call in several processes, on one machine or on many that
    share the folder, is the chief or one of the workers of one search.

    Args:
        hypermodel: The models to choose from.
        images: The images to train on: `[n, height, width, channels]`, floating, in [0, 1]; a
            `tf.data.Dataset` of batches; or a function from a batch size and a seed to one.
        validation_images: The images to compare models on: an array of 0 and 1, or a
            `tf.data.Dataset` of batches that gives the same at each iteration.
        settings: How to search.
        folder: Where everything goes: new, empty, or of the same search.
        num_workers: If given, this program is started again as a chief and as so many workers.

    Returns:
        The result; None in a worker, as the chief has it.
    """
    settings = settings or SearchSettings()
    # KerasTuner wants its parent and its name, which `.` and `a/..` do not have. `resolve` would
    # also follow links, and name another folder than the one that was given.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` follows links
    # The processes of a search share its trials, not the steps of one.
    check_choice("strategy", hypermodel.training.strategy, ("auto", "one_device", "mirrored"))
    # What cannot be built is not searched.
    hypermodel.build(keras_tuner.HyperParameters())
    role, definition = processes.role(), _define(hypermodel, settings)
    if role != "worker":
        _check_folder(folder, definition)
    if role == "alone" and num_workers is not None:
        # This process then goes on alone, for which no trial is left.
        processes.run_local(check_integer("num_workers", num_workers, minimum=1))
    with (
        processes.connected_to_chief()
        if role == "worker"
        else locked(folder, "a search is running", seconds=SECONDS_TO_WAIT_FOR_LOCK)
    ):
        if role != "worker":
            remove_half_written(folder)
        _check_folder(folder, definition)
        if role != "worker":
            write_json(folder / DEFINITION, definition)
        try:
            TrialTuner(hypermodel, settings, folder).search(images, validation_images)
        except keras_tuner.errors.FatalError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(folder)) from error
        if role == "worker":
            return None
        result = read_search(folder, settings.objective)
        result.write_table()
        save_figure(draw(result), result.figure)
    return result


def load_chosen(hypermodel: VAEHyperModel, result: SearchResult) -> VAE:
    """Loads the compiled model that a search has chosen, with the weights of its best execution."""
    weights = WEIGHTS.format(result.chosen.numbers["best_execution"])
    vae = hypermodel.build(_hyperparameters(result))
    folder = result.folder / f"trial_{result.chosen.trial_id}"
    vae.set_weights(read_arrays(folder / weights))
    return vae


def search_dataset(
    training: TrainingSettings,
    space: SearchSpace,
    settings: SearchSettings,
    *,
    folder: str | os.PathLike,
    num_workers: int | None = None,
) -> SearchResult | None:
    """Searches the latent size for a data set, as `search` does for a hypermodel and images.

    `training` says the data set and what is trained where nothing is chosen. The chosen model and
    its settings are then in `model.keras` and `settings.json` of the folder.
    """
    description = describe_dataset(training.dataset, training.data_dir)
    shape, sizes = description.image_shape, splits.sizes(training, description)
    hypermodel = VAEHyperModel(space, training, image_shape=shape, num_images=sizes["train"])

    def images(batch_size, seed):
        return splits.load_split(training.replace(batch_size=batch_size, seed=seed), "train")

    held_out = splits.load_split(training, "validation").cache()
    result = search(hypermodel, images, held_out, settings, folder=folder, num_workers=num_workers)
    if result is not None:
        with atomic_write(result.folder / runs.MODEL) as path:
            load_chosen(hypermodel, result).save(path)
        chosen = hypermodel.settings(_hyperparameters(result))
        write_text(result.folder / runs.SETTINGS, chosen.to_json())
    return result


def _check_folder(folder, definition):
    file = folder / DEFINITION
    if file.is_file():
        there = read_json(file)
        differences = [
            f"{name} is {there.get(name)} there, {value} here"
            for name, value in definition.items()
            if there.get(name) != value
        ]
        if differences:
            raise InputError(
                f"the folder {folder} holds another search ({'; '.join(differences)}): choose "
                "another output, or give the same search to go on with it"
            )
    elif processes.role() == "worker":
        raise InputError(
            f"there is no search of the chief in {folder}: chief and workers need the same folder, "
            "on a file system that all of them see"
        )
    elif folder.exists() and (folder.is_file() or {*folder.iterdir()} - {folder / LOCK}):
        raise InputError(
            f"the output {folder} is no empty folder, and holds no search to go on with: choose "
            "another output, or remove it"
        )


def _define(hypermodel, settings):
    """What stays the same in all processes of a search and whenever it goes on."""
    parts = {"training": hypermodel.training, "space": hypermodel.space, "search": settings}
    return {
        f"{part}.{name}": value
        for part, model in parts.items()
        for name, value in model.model_dump(mode="json").items()
        # A search may get more trials, and the data be elsewhere.
        if name not in {"max_trials", *TrainingSettings.under(MACHINE, EVALUATION)}
    }


def _hyperparameters(result):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.values = dict(result.chosen.values)
    return hyperparameters
