"""How large should z be? The hypermodel of a VAE, and a KerasTuner search over its latent size."""

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset
from tfvae.training import runs, splits, strategies
from tfvae.training.settings import TrainingSettings
from tfvae.tuning import oracles
from tfvae.tuning import processes as workers
from tfvae.tuning import results as report
from tfvae.tuning.hypermodel import Images, VAEHyperModel
from tfvae.tuning.results import SearchResult
from tfvae.tuning.search_settings import SearchSettings, SearchSpace
from tfvae.tuning.trials import TERMS, TrialTuner, load_execution
from tfvae.vae import VAE

DEFINITION = "search.json"
"""What a search is, in its folder; another search is kept out by it."""


def search(
    hypermodel: VAEHyperModel,
    images: Images,
    validation_images: Images,
    settings: SearchSettings | None = None,
    *,
    folder: str | os.PathLike,
    strategy: tf.distribute.Strategy | None = None,
    say: Callable[[str], None] = print,
) -> SearchResult | None:
    """Searches the latent size, and what else the hypermodel leaves open.

    A search that was killed goes on where it was when it is started again with the same folder.
    With KerasTuner's variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT`, the same call in several processes, on one machine or on many that
    share the folder, is the chief or one of the workers of one search.

    Args:
        hypermodel: What is searched.
        images: To train on: `[n, height, width, channels]`, floating, in [0, 1]; a
            `tf.data.Dataset` of batches; or a function from a batch size and a seed to one.
        validation_images: To compare models on: an array of 0 and 1, or a `tf.data.Dataset` of
            batches that gives the same at each iteration.
        settings: How the search goes about it.
        folder: Where everything goes: new, empty, or of the same search.
        strategy: The `tf.distribute` strategy within each trial.
        say: Is given each line about how it goes.

    Returns:
        The result; None in a worker, as the chief has it.

    Raises:
        InputError: If something that was given cannot be used, the hypermodel cannot build a
            model, the folder holds something else, the chief is not there, or no trial ended well.

    Example:
        >>> hypermodel = VAEHyperModel(SearchSpace(latent_dims=(2, 8, 32)), num_images=len(images))
        >>> result = search(hypermodel, images, held_out, folder="runs/latent-size")
        >>> result.latent_dim, result.reason
    """
    settings = settings or SearchSettings()
    role = workers.role()
    # KerasTuner wants its parent and its name, which `.` and `a/..` do not have. `resolve` would
    # also follow links, and name another folder than the one that was given.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - `resolve` follows links
    hp = _hyperparameters_of_a_build(hypermodel)
    epochs = hypermodel.settings(hp).epochs
    definition = _definition(hypermodel, settings)
    if role == "worker":
        workers.wait_for_chief()
        _check_definition(folder, definition)
        with workers.signs_of_life(folder), workers.errors_of_chief_explained():
            tuner = _tuner(hypermodel, settings, folder, epochs, strategy, role, say)
            _run(tuner, images, validation_images)
        say("nothing is left to do: the chief has the result")
        return None
    _check_definition(folder, definition)
    folder.mkdir(parents=True, exist_ok=True)
    with workers.sole_use(folder):
        _claim(folder, definition, settings, hp)
        tuner = _tuner(hypermodel, settings, folder, epochs, strategy, role, say)
        tuner.save()
        if role == "chief":
            say(f"chief at {workers.chief_address()}: waits for workers")
            with workers.silent_workers_forgotten(tuner.oracle, folder):
                _run(tuner, images, validation_images)
        else:
            _run(tuner, images, validation_images)
        return report.write(folder, settings.objective)


def load_chosen(hypermodel: VAEHyperModel, folder: str | os.PathLike, result: SearchResult) -> VAE:
    """The model that a search has chosen, with the weights of its best execution.

    Args:
        hypermodel: That of the search.
        folder: That of the search.
        result: What `search` returned.

    Returns:
        The trained model, compiled.
    """
    scores = [record[result.objective] for record in result.chosen.executions]
    trial = Path(folder, f"trial_{result.chosen.trial_id}")
    return load_execution(hypermodel, trial, scores.index(max(scores)))


def _tuner(hypermodel, settings, folder, epochs, strategy, role, say):
    oracle = oracles.make(
        settings.algorithm,
        is_chief=role == "chief",
        objective=keras_tuner.Objective(settings.objective, "max"),
        max_trials=settings.max_trials,
        max_epochs=epochs,
        seed=hypermodel.training.seed,
    )
    # KerasTuner prints that it reloads.
    with contextlib.redirect_stdout(io.StringIO()):
        return TrialTuner(
            oracle,
            hypermodel,
            num_importance_samples=settings.num_importance_samples,
            on_end=lambda trial: say(report.trial_line(trial, settings.objective)),
            executions_per_trial=settings.executions_per_trial,
            distribution_strategy=strategy,
            directory=str(folder.parent),
            project_name=folder.name,
        )


def _run(tuner, images, validation_images):
    try:
        tuner.search(images, validation_images)
    except keras_tuner.errors.FatalError as error:
        raise InputError(f"the hypermodel cannot be used: {error}") from error


def _hyperparameters_of_a_build(hypermodel):
    """What a model is built of, and whether one can be built at all."""
    if not isinstance(hypermodel, VAEHyperModel):
        raise InputError(
            f"a search needs a tfvae.tuning.VAEHyperModel; got {type(hypermodel).__name__}"
        )
    hp = keras_tuner.HyperParameters()
    try:
        vae = hypermodel.build(hp)
    # It is the user's, and may raise anything.
    except Exception as error:
        raise InputError(f"the hypermodel's build fails: {error or repr(error)}") from error
    if not isinstance(vae, VAE) or not vae.compiled:
        raise InputError(
            "the hypermodel's build must give a compiled tfvae.VAE; it gave "
            f"{'an uncompiled VAE' if isinstance(vae, VAE) else type(vae).__name__}"
        )
    return hp


def _definition(hypermodel, settings):
    """What makes a search the same one; it may get more trials, or other processes."""
    kind = type(hypermodel)
    definition = {
        "hypermodel": f"{kind.__module__}.{kind.__qualname__}",
        "image_shape": list(hypermodel.image_shape),
        "space": dataclasses.asdict(hypermodel.space),
        "training": hypermodel.training.model_dump(),
        "search": dataclasses.asdict(settings),
    }
    return json.loads(json.dumps(definition))


def _check_definition(folder, definition):
    file = folder / DEFINITION
    if not file.is_file():
        if workers.role() == "worker":
            raise InputError(
                f"there is no search of the chief in {folder}: chief and workers need the same "
                "folder, on a file system that all of them see"
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"the output {folder} must be a folder; there is a file")
        if folder.is_dir() and any(path.name not in workers.FILES for path in folder.iterdir()):
            raise InputError(
                f"the output folder {folder} is not empty, and holds no search to go on with: "
                "choose another output, or remove it"
            )
        return
    there = json.loads(file.read_text(encoding="utf-8"))
    differences = [
        f"{name} is {_shortly(there[part].get(name))} there, {_shortly(value)} here"
        for part in ("search", "space", "training")
        for name, value in definition[part].items()
        if name not in ("max_trials", "data_dir") and there[part].get(name) != value
    ]
    differences += [
        f"{name} is {there[name]} there, {definition[name]} here"
        for name in ("hypermodel", "image_shape")
        if there[name] != definition[name]
    ]
    if differences:
        raise InputError(
            f"the folder {folder} holds another search ({'; '.join(differences)}): choose another "
            "output, or give the same search to go on with it"
        )


def _claim(folder, definition, settings, hp):
    is_new = not (folder / DEFINITION).is_file()
    runs.write_text(folder / DEFINITION, json.dumps(definition, indent=2) + "\n")
    if is_new:
        metrics = [f"val_{term}" for term in TERMS]
        metrics.sort(key=lambda name: name != settings.objective)
        with tf.summary.create_file_writer(str(folder / runs.TENSORBOARD)).as_default():
            hparams.hparams_config(
                hparams=[hparams.HParam(name) for name in hp.values],
                metrics=[hparams.Metric(name) for name in (*metrics, "active_units", "seconds")],
            )


def _shortly(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else value


# The searches of the command: over a data set, with networks of tfvae's own.


def search_dataset(
    training_settings: TrainingSettings,
    space: SearchSpace,
    settings: SearchSettings,
    folder: Path,
    *,
    num_workers: int | None = None,
    say: Callable[[str], None] = print,
) -> tuple[VAEHyperModel, SearchResult | None]:
    """Searches the latent size of a data set.

    Args:
        training_settings: What is trained, on what, where nothing is chosen.
        space: The values to choose from.
        settings: How the search goes about it.
        folder: As for `search`.
        num_workers: How many processes to start here; None for none, so that this process searches
            alone or, with KerasTuner's variables, is the chief or a worker.
        say: Is given each line about how it goes.

    Returns:
        The hypermodel, and what `search` returned.

    Raises:
        InputError: As `search` does, if the data set is not there, or if the strategy is one of
            several processes.
    """
    if training_settings.strategy == "multi_worker":
        raise InputError(
            "a trial cannot be shared out over several processes; give the search itself several "
            "with --workers, or strategy mirrored for the devices of this machine"
        )
    description = describe_dataset(training_settings.dataset, training_settings.data_dir)
    hypermodel = VAEHyperModel(
        space,
        training_settings,
        image_shape=description.image_shape,
        num_images=splits.sizes(training_settings, description)["train"],
    )
    if num_workers is None or workers.role() != "alone":
        result = search(
            hypermodel,
            lambda batch_size, seed: splits.load_split(
                training_settings.replace(batch_size=batch_size, seed=seed), "train"
            ),
            splits.load_split(training_settings, "validation").cache(),
            settings,
            folder=folder,
            strategy=strategies.get(training_settings.strategy),
            say=say,
        )
        return hypermodel, result
    return hypermodel, _search_in_processes(hypermodel, settings, Path(folder), num_workers, say)


def continue_search(folder: Path) -> None:
    """Is the chief or a worker of a search over a data set that was begun in a folder.

    Args:
        folder: That of the search.

    Raises:
        InputError: As `search` does.
    """
    definition = json.loads((folder / DEFINITION).read_text(encoding="utf-8"))
    search_dataset(
        TrainingSettings(**definition["training"]),
        SearchSpace(**definition["space"]),
        SearchSettings(**definition["search"]),
        folder,
    )


def _search_in_processes(hypermodel, settings, folder, num_workers, say):
    num_workers = check_integer("workers", num_workers, minimum=1)
    hp = _hyperparameters_of_a_build(hypermodel)
    definition = _definition(hypermodel, settings)
    _check_definition(folder, definition)
    folder.mkdir(parents=True, exist_ok=True)
    with workers.sole_use(folder):
        _claim(folder, definition, settings, hp)
    said = set(report.ended_trials(folder))

    def say_what_ended():
        for trial in report.ended_trials(folder):
            if trial not in said:
                said.add(trial)
                say(report.trial_line(trial, settings.objective))

    workers.run_local(
        [sys.executable, "-m", "tfvae.tuning.processes", str(folder)],
        num_workers,
        folder,
        on_poll=say_what_ended,
    )
    return report.write(folder, settings.objective)
