"""The main job: a data set and settings go in; a trained model, numbers and figures come out."""

import dataclasses
import functools
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfvae import figures, networks, objectives
from tfvae.common.errors import InputError, WorkerLostError
from tfvae.common.files import atomic_write
from tfvae.datasets import describe_dataset
from tfvae.fitting import optimizers
from tfvae.fitting.callbacks import BestWeights, KLWarmup
from tfvae.fitting.loops import STEPS_PER_EXECUTION
from tfvae.fitting.progress import Progress
from tfvae.fitting.replicas import has_several_workers
from tfvae.inference import diagnostics
from tfvae.serving import export_saved_model
from tfvae.training import initialization, pretrained, runs, splits, strategies
from tfvae.training.backups import Backup
from tfvae.training.settings import TrainingSettings
from tfvae.vae import VAE

STEPS = 40_000
FEWEST_EPOCHS, MOST_EPOCHS = 50, 200
FEWEST_PATIENT_EPOCHS = 10

# Of the piecewise schedule, as Burda et al. (2015) have it.
STAGES = 8


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run gave.

    Attributes:
        folder: Where everything of it lies.
        vae: The model, with the weights of the best epoch.
        results: The numbers on the held-out images, and the settings that gave them.
        figures: The files of the figures.
        saved_model: The folder of the export for TensorFlow Serving.
    """

    folder: Path
    vae: VAE
    results: dict[str, Any]
    figures: list[Path]
    saved_model: Path


def train(
    settings: TrainingSettings,
    folder: Path,
    *,
    strategy: tf.distribute.Strategy | None = None,
    backups: Path | None = None,
    split: str = "test",
    num_importance_samples: int | None = None,
    with_tensorboard: bool = False,
    say: Callable[[str], None] = print,
) -> Run | None:
    """Trains a model and writes all that comes of it into a folder.

    That is: `model.keras`, `history.csv`, `settings.json`, `results.json`, figures, and an export
    for TensorFlow Serving; until then, a backup to go on from. Ctrl-C ends the training, and the
    best weights so far are kept.

    Args:
        settings: What is trained, on what.
        folder: A folder that is empty, or that of a run to resume. Of several workers, only the
            chief's is of use.
        strategy: The one of the settings; None for one device.
        backups: Where the backup lies that training goes on from, if there is one; `backup` in
            the folder if None.
        split: Whose images the numbers and figures at the end are of: `validation` where settings
            are still to be chosen, so that they are not chosen on the test images.
        num_importance_samples: Latents per image for log p(x) of these images; what the settings
            say if None.
        with_tensorboard: Whether to write summaries for TensorBoard.
        say: Is given each line about how it goes.

    Returns:
        The run; None on workers other than the chief.

    Raises:
        InputError: If the data set is not there or does not fit the settings.
        WorkerLostError: If another worker has ended.
        OSError: If the folder cannot be written to.
    """
    keras.utils.set_random_seed(settings.seed)
    description = describe_dataset(settings.dataset, settings.data_dir)
    best_weights = BestWeights(
        settings.patience or 1, settings.monitor, start_from_epoch=settings.warmup_epochs
    )
    is_chief = strategies.is_chief(strategy)
    backup = Backup(backups or folder / runs.BACKUP, best_weights, writes=is_chief)
    data = {
        "train": splits.load_split(settings, "train", initial_epoch=backup.initial_epoch),
        "validation": splits.load_split(settings, "validation"),
    }
    # Asked for at the end: a name that is not known shows now.
    splits.load_split(settings, split)
    settings = with_epochs(settings, steps_per_epoch=int(data["train"].cardinality()))
    best_weights.patience = settings.patience
    runs.write_text(folder / runs.SETTINGS, settings.to_json())
    runs.write_evaluation(folder, runs.Evaluation(split, num_importance_samples))
    say(_sentence_about_data(description, settings))

    with strategies.scope(strategy):
        vae = build_vae(settings, description.image_shape)
    num_replicas = vae.strategy.num_replicas_in_sync
    say(
        f"{settings.network} network, {vae.latent_dim} latents, {vae.count_params():,} parameters;"
        + (f" {num_replicas} replicas;" if num_replicas > 1 else "")
        + f" up to {settings.epochs} epochs"
        + (f", {backup.initial_epoch} of them done" if backup.initial_epoch else "")
    )
    compile_vae(vae, settings, steps_per_epoch=int(data["train"].cardinality()))
    if not backup.initial_epoch:
        initialize(vae, settings)
    shown = settings.monitor.removeprefix("val_")
    callbacks = [Progress(quantity=shown)] if is_chief else []
    if settings.warmup_epochs:
        callbacks.append(KLWarmup(settings.warmup_epochs, end=settings.beta))
    if with_tensorboard:
        held_out = splits.first_images(settings, description, split="validation", count=1000)
        callbacks += figures.tensorboard_callbacks(folder / runs.TENSORBOARD, *held_out)
    try:
        vae.fit(
            data["train"],
            validation_data=data["validation"],
            epochs=backup.initial_epoch if backup.is_over else settings.epochs,
            callbacks=[*callbacks, best_weights, backup],
            verbose=0,
        )
    except tf.errors.OpError as error:
        if not has_several_workers(vae.strategy):
            raise
        raise WorkerLostError(
            f"another worker has ended, so that this one cannot go on "
            f"({type(error).__name__}). Start all of them again: `--resume "
            f"{folder if is_chief else 'RUN_FOLDER'}` goes on "
            f"after epoch {len(backup.history.get('loss', ()))}"
        ) from error
    finally:
        if is_chief:
            callbacks[0].stop()
    if not is_chief:
        return None
    history = backup.history
    with atomic_write(folder / runs.MODEL) as path:
        vae.save(path)
    runs.write_history(folder / runs.HISTORY, history)
    seconds = backup.seconds
    stopped = f" ({best_weights.stop_reason})" if best_weights.stop_reason else ""
    say(
        f"Trained {len(history['loss'])} epochs in {seconds:.0f} s{stopped}; the weights are those "
        f"of epoch {best_weights.best_epoch + 1}: {folder / runs.MODEL}"
    )

    if strategy is not None:
        # The rest is for one device, and for the chief alone.
        vae = runs.load_vae(folder)
    results = evaluate(
        vae,
        settings,
        split=split,
        num_importance_samples=num_importance_samples or settings.num_importance_samples,
    ) | {
        "epochs": len(history["loss"]),
        "best_epoch": best_weights.best_epoch + 1,
        "seconds": seconds,
    }
    runs.write_text(folder / runs.RESULTS, json.dumps(results, indent=2) + "\n")
    files = write_figures(vae, settings, folder, split=split, history=history)
    saved_model = export_saved_model(vae, folder / "saved_model")
    backup.remove()
    (folder / runs.EVALUATION).unlink()
    return Run(folder, vae=vae, results=results, figures=files, saved_model=saved_model)


def evaluate(
    vae: VAE, settings: TrainingSettings, *, split: str, num_importance_samples: int
) -> dict[str, Any]:
    """Evaluates a model on a split of the data set of the settings.

    Args:
        vae: The model.
        settings: Whose data set and seed are taken.
        split: The split.
        num_importance_samples: Latents per image for log p(x).

    Returns:
        The numbers of `diagnostics.evaluate`, the `seconds` that it took, and the `settings`.

    Raises:
        InputError: If the data set is not there or its images do not fit the model.
    """
    began = time.perf_counter()
    images = splits.load_split(settings, split, shuffle=False)
    numbers = diagnostics.evaluate(vae, images, num_importance_samples, seed=settings.seed)
    seconds = time.perf_counter() - began
    settings_of_split = {**settings.model_dump(), "split": split}
    return numbers | {"seconds": seconds, "settings": settings_of_split}


def build_vae(settings: TrainingSettings, image_shape: tuple[int, int, int]) -> VAE:
    """The untrained model of the settings, with random weights."""
    names = ("hidden", "filters", "blocks", "activation")
    given = {name: getattr(settings, name) for name in names}
    given["batch_normalization"] = settings.batch_normalization or None
    if settings.network != "mlp" and settings.hidden is not None:
        (given["hidden"],) = settings.hidden
    encoder, decoder = networks.build(
        settings.network,
        image_shape,
        settings.latent_dim,
        dtype=settings.precision,
        **{name: value for name, value in given.items() if value is not None},
    )
    return VAE(encoder=encoder, decoder=decoder, dtype=settings.precision)


def initialize(vae: VAE, settings: TrainingSettings) -> None:
    """Gives a model the weights that the settings say training starts from.

    Raises:
        InputError: If the initial model is not there or has other networks.
    """
    if settings.initial_model is not None:
        is_pretrained = settings.initial_model in pretrained.names()
        # The name means the same wherever the command is run.
        find = pretrained.folder_of if is_pretrained else pretrained.located
        initialization.copy_weights(runs.load_vae(find(settings.initial_model)), vae)
    elif settings.decoder_bias == "data_mean":
        binarization = "none" if settings.binarization == "dynamic" else settings.binarization
        images = splits.load_split(settings, "train", binarization=binarization, shuffle=False)
        initialization.set_decoder_bias(vae, images)


def compile_vae(vae: VAE, settings: TrainingSettings, steps_per_epoch: int) -> None:
    """Compiles a model with the objective and the optimizer of the settings."""
    if settings.objective == "iwae":
        objective = objectives.IWAE(
            num_samples=settings.num_samples,
            gradient_estimator=settings.gradient_estimator,
            num_resampled=settings.num_resampled,
        )
    else:
        objective = objectives.ELBO(
            beta=settings.beta,
            num_samples=settings.num_samples,
            free_bits=settings.free_bits,
            gradient_estimator=settings.gradient_estimator,
        )
    adam = keras.optimizers.Adam
    if settings.weight_decay is not None:
        adam = functools.partial(optimizers.AdamW, weight_decay=settings.weight_decay)
    optimizer = adam(
        learning_rate(settings, num_steps=settings.epochs * steps_per_epoch),
        global_clipnorm=settings.gradient_clipping,
        use_ema=settings.average_weights is not None,
        ema_momentum=settings.average_weights or 0.0,
    )
    vae.compile(
        optimizer=optimizer,
        objective=objective,
        steps_per_execution=min(STEPS_PER_EXECUTION, steps_per_epoch),
    )


def learning_rate(
    settings: TrainingSettings, num_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule | float:
    """The learning rate of the settings over a number of steps, as Keras's optimizers take it."""
    rate = settings.learning_rate
    if settings.learning_rate_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, decay_steps=num_steps)
    if settings.learning_rate_schedule == "piecewise":
        lengths = [3**stage for stage in range(STAGES)]
        ends = [num_steps * total // sum(lengths) for total in itertools.accumulate(lengths)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            ends[:-1], [rate * 10 ** (-stage / (STAGES - 1)) for stage in range(STAGES)]
        )
    return rate


def with_epochs(settings: TrainingSettings, steps_per_epoch: int) -> TrainingSettings:
    """The settings with the epochs and the patience that None stands for.

    Raises:
        InputError: If the warm-up takes all of the epochs.
    """
    epochs = settings.epochs
    if epochs is None:
        epochs = min(max(math.ceil(STEPS / steps_per_epoch), FEWEST_EPOCHS), MOST_EPOCHS)
    patience = settings.patience or max(epochs // 10, FEWEST_PATIENT_EPOCHS)
    if settings.warmup_epochs >= epochs:
        raise InputError(
            f"warmup_epochs, {settings.warmup_epochs}, must be fewer than the epochs, {epochs}: no "
            "epoch would be trained with the KL at its full weight, and none could be chosen"
        )
    return settings.replace(epochs=epochs, patience=patience)


def write_figures(
    vae: VAE,
    settings: TrainingSettings,
    folder: Path,
    *,
    split: str = "test",
    history: dict[str, list[float]] | None = None,
) -> list[Path]:
    """Draws samples, reconstructions, latents and the training curves into PNG files.

    Args:
        vae: A trained model.
        settings: Those of its training; their data set gives the images.
        folder: Where the files go.
        split: Whose images are reconstructed and encoded.
        history: The logs of the training by name; no curves where there are none.

    Returns:
        The files; none if the images have channels that nobody can look at.

    Raises:
        InputError: If the data set is not there.
        OSError: If the folder cannot be written to.
    """
    if vae.image_shape[2] not in (1, 3):
        return []
    description = describe_dataset(settings.dataset, settings.data_dir)
    images, labels = splits.first_images(settings, description, split=split, count=1000)
    drawn = {
        "samples": figures.samples(vae, seed=settings.seed),
        "reconstructions": figures.reconstructions(vae, images[:20]),
        "kl_per_dimension": figures.kl_per_dimension(vae, images),
    }
    if history:
        drawn["training_curves"] = figures.training_curves(history, monitor=settings.monitor)
    if vae.latent_dim == 2:
        drawn["latent_plane"] = figures.latent_plane(vae, images, labels)
    else:
        drawn["latent_traversals"] = figures.latent_traversals(vae, images)
    files = []
    for name, figure in drawn.items():
        files.append(folder / f"{name}.png")
        figures.save_figure(figure, files[-1])
    return files


def _sentence_about_data(description, settings):
    counts = splits.sizes(settings, description)
    height, width, channels = description.image_shape
    pixels = f"{settings.binarization} binarisation"
    if settings.binarization == "none":
        pixels = "pixels as they are stored"
    return (
        f"{description.name}: {counts['train']:,} images to train on, {counts['validation']:,} to "
        f"validate, {counts['test']:,} held out; {height}x{width}x{channels}, {pixels}"
    )
