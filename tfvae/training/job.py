"""The main job: a data set and settings go in; a trained model, numbers and figures come out."""

import dataclasses
import functools
import inspect
import itertools
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfvae import figures, networks, objectives
from tfvae.common.errors import InputError, WorkerLostError
from tfvae.common.files import atomic_write, write_json
from tfvae.common.images import check_images
from tfvae.datasets import describe_dataset
from tfvae.fitting import optimizers
from tfvae.fitting.callbacks import BestWeights, KLWarmup
from tfvae.fitting.loops import STEPS_PER_EXECUTION
from tfvae.fitting.progress import Progress
from tfvae.fitting.replicas import has_several_workers
from tfvae.inference import LowEffectiveSampleSizeWarning, diagnostics
from tfvae.serving import export_saved_model
from tfvae.training import initialization, runs, splits, strategies
from tfvae.training.backups import Backup
from tfvae.training.settings import EVALUATION, MACHINE, TrainingSettings
from tfvae.vae import VAE

STEPS = 40_000
FEWEST_EPOCHS, MOST_EPOCHS = 50, 200
FEWEST_PATIENT_EPOCHS = 10

INFORMATIVE = 0.1
"""The KL of a latent dimension, in nats, from which it is said to carry something."""

STAGES = 8
"""The stages of the piecewise schedule of learning rates, as Burda et al. (2015) have it."""


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
    with_tensorboard: bool = False,
    say: Callable[[str], None] = print,
) -> Run | None:
    """Trains a model and writes all that comes of it into a folder.

    That is: `model.keras`, `history.csv`, `settings.json`, `results.json`, figures, and an export
    for TensorFlow Serving; `run.json` and the backups of the last two epochs to go on from. Ctrl-C
    ends the training, and the best weights so far are kept and evaluated.

    Args:
        settings: What is trained, on what.
        folder: A folder that is empty, or that of a run to resume. Of several workers, only the
            chief's is of use.
        strategy: The strategy of the settings; None for one device.
        backups: The folder of the backup to go on from, if there is one; None for that of the run.
        with_tensorboard: Whether to write summaries for TensorBoard.
        say: Is given each line about how it goes.

    Returns:
        The run; None on workers other than the chief.
    """
    keras.utils.set_random_seed(settings.seed)
    description = describe_dataset(settings.dataset, settings.data_dir)
    is_chief = strategies.is_chief(strategy)
    kept = {*settings.under(MACHINE, EVALUATION), "epochs", "patience"}
    backup = Backup(
        backups or folder / runs.BACKUP,
        settings=settings.model_dump_json(exclude=kept),
        writes=is_chief,
    )
    if backup.damage:
        say(f"Damaged, and not used: {', '.join(backup.damage)}")
    images = splits.load_split(settings, "train", initial_epoch=backup.initial_epoch)
    validation_images = splits.load_split(settings, "validation")
    # What cannot be evaluated at the end shows now.
    held_out_images = splits.load_split(settings, settings.split, shuffle=False)
    if settings.binarization == "none":
        _check_binary(held_out_images, description)
    steps_per_epoch = int(images.cardinality())
    settings = with_epochs(settings, steps_per_epoch)
    runs.begin(folder, settings)
    say(_describe_data(settings, description))

    with strategies.scope(strategy):
        vae = build_vae(settings, description.image_shape)
    compile_vae(vae, settings, steps_per_epoch)
    if not backup.initial_epoch:
        initialization.initialize(vae, settings)
    say(_describe_model(vae, settings, backup.initial_epoch))

    assert settings.patience is not None  # with_epochs has chosen it.
    backup.best_weights = BestWeights(
        settings.patience, settings.monitor, start_from_epoch=settings.warmup_epochs
    )
    callbacks = _callbacks(settings, folder, description, with_tensorboard)
    _fit(vae, settings, images, validation_images, callbacks, backup)
    if not is_chief:
        return None
    is_interrupted = backup.best_weights.stop_reason == "interrupted"
    if is_interrupted:
        say(
            f"Stopped in epoch {len(backup.history['loss'])}. Ctrl-C again skips the evaluation; "
            f"`tfvae train --resume {folder}` goes on after epoch {backup.initial_epoch}"
        )
    (folder / runs.RESULTS).unlink(missing_ok=True)  # Of another model than the one that follows.
    with atomic_write(folder / runs.MODEL) as path:
        vae.save(path)
    runs.write_history(folder / runs.HISTORY, backup.history)
    training = {
        "epochs": len(backup.history["loss"]),
        "best_epoch": backup.best_weights.best_epoch + 1,
        "seconds": backup.seconds,
    }
    stopped = f" ({backup.best_weights.stop_reason})" if backup.best_weights.stop_reason else ""
    say(
        f"Trained {training['epochs']} epochs in {training['seconds']:.0f} s{stopped}; the weights "
        f"are those of epoch {training['best_epoch']}: {folder / runs.MODEL}"
    )

    if strategy is not None:
        # The rest is for one device, and for the chief alone.
        vae = runs.load_vae(folder)
    results = evaluate(vae, settings) | training
    write_json(folder / runs.RESULTS, results)
    files = write_figures(vae, settings, folder, history=backup.history)
    saved_model = export_saved_model(vae, folder / runs.SAVED_MODEL)
    if not is_interrupted:
        runs.end(folder)
    return Run(folder, vae=vae, results=results, figures=files, saved_model=saved_model)


def evaluate(vae: VAE, settings: TrainingSettings) -> dict[str, Any]:
    """The numbers of a model on the images of the settings, and what gave them."""
    began = time.perf_counter()
    images = splits.load_split(settings, settings.split, shuffle=False)
    with warnings.catch_warnings():
        # The effective sample size is among the numbers.
        warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
        results = diagnostics.evaluate(vae, images, settings.num_importance_samples, settings.seed)
    seconds = time.perf_counter() - began
    return results | {"seconds": seconds, "settings": settings.model_dump()}


def describe_results(results: dict[str, Any]) -> str:
    """The numbers of an evaluation as lines to read, each with its standard error."""

    def number(name: str, digits: int = 2) -> str:
        error = results[f"{name}_stderr"]
        return f"{results[name]:8.{digits}f} ± {'?' if error is None else f'{error:.{digits}f}'}"

    settings, divergences = results["settings"], results["kl_per_dimension"]
    num_informative = sum(divergence > INFORMATIVE for divergence in divergences)
    return f"""\
On the {results["num_images"]:,} images of {settings["dataset"]}'s {settings["split"]} split, mean \
± standard error in nats per image:
  ELBO                            {number("elbo")}
  reconstruction  E_q[log p(x|z)] {number("reconstruction")}
  KL(q(Z|x) || p(Z))              {number("kl")}
  log p(x)                        {number("log_likelihood")}
  posterior gap  log p(x) - ELBO  {number("posterior_gap")}
  bits per dimension              {number("bits_per_dim", digits=4)}
  active units                    {results["active_units"]:8d} of {len(divergences)}, of which \
{num_informative} carry more than {INFORMATIVE} nats
  (log p(x) from {results["num_importance_samples"]:,} importance samples per image, which are \
worth {results["effective_sample_size_median"]:.0f} in the
  median and {results["effective_sample_size_min"]:.0f} at least: on average it is a little too \
low, and more samples raise it)"""


def build_vae(settings: TrainingSettings, image_shape: tuple[int, int, int]) -> VAE:
    """The untrained model of the settings, with random weights."""
    encoder, _ = networks.BY_NAME[settings.network]
    # The arguments of a network have the names of their settings.
    given = {
        name: getattr(settings, name)
        for name in inspect.signature(encoder).parameters
        if getattr(settings, name, None) is not None
    }
    if settings.network != "mlp" and settings.hidden is not None:
        (given["hidden"],) = settings.hidden
    encoder, decoder = networks.build(
        settings.network, image_shape, dtype=settings.precision, **given
    )
    return VAE(encoder=encoder, decoder=decoder, dtype=settings.precision)


def compile_vae(vae: VAE, settings: TrainingSettings, steps_per_epoch: int) -> None:
    """Compiles a model with the objective and the optimizer of settings that say the epochs."""
    assert settings.epochs is not None
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
    """The settings with the epochs and the patience that None stands for."""
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
    history: dict[str, list[float]] | None = None,
) -> list[Path]:
    """Draws a model and its training into PNG files; none if nobody can look at the channels."""
    if vae.image_shape[2] not in (1, 3):
        return []
    description = describe_dataset(settings.dataset, settings.data_dir)
    images, labels = splits.first_images(settings, description, split=settings.split, count=1000)
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
    for name, figure in drawn.items():
        figures.save_figure(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in drawn]


def _callbacks(settings, folder, description, with_tensorboard):
    callbacks = []
    if settings.warmup_epochs:
        callbacks.append(KLWarmup(settings.warmup_epochs, end=settings.beta))
    if with_tensorboard:
        shown = splits.first_images(settings, description, split="validation", count=1000)
        callbacks += figures.tensorboard_callbacks(folder / runs.TENSORBOARD, *shown)
    return callbacks


def _fit(vae, settings, images, validation_images, callbacks, backup):
    progress = Progress(quantity=settings.monitor.removeprefix("val_"))
    shown = [progress] if backup.writes else []
    is_over = backup.is_over and settings.epochs <= backup.num_epochs
    try:
        vae.fit(
            images,
            validation_data=validation_images,
            initial_epoch=backup.initial_epoch,
            epochs=backup.initial_epoch if is_over else settings.epochs,
            callbacks=[*shown, *callbacks, backup.best_weights, backup],
            verbose=0,
        )
    except tf.errors.OpError as error:
        if not has_several_workers(vae.distribute_strategy):
            raise
        raise WorkerLostError(
            f"another worker has ended, so that this one cannot go on ({type(error).__name__}). "
            "Start all of them again: `--resume "
            f"{backup.folder.parent if backup.writes else 'RUN_FOLDER'}` goes on after epoch "
            f"{len(backup.history.get('loss', ()))}"
        ) from error
    finally:
        progress.stop()


def _check_binary(images, description):
    try:
        for batch in images:
            check_images(batch, description.image_shape, binary=True)
    except InputError as error:
        raise InputError(
            f"binarization none leaves the images of {description.name} as they are, and log p(x) "
            f"cannot be evaluated: {error}. Give binarization dynamic, fixed or threshold"
        ) from error


def _describe_data(settings, description):
    counts = splits.sizes(settings, description)
    height, width, channels = description.image_shape
    is_gray = settings.binarization == "none"
    pixels = "pixels as they are stored" if is_gray else f"{settings.binarization} binarization"
    return (
        f"{description.name}: {counts['train']:,} images to train on, {counts['validation']:,} to "
        f"validate, {counts['test']:,} held out; {height}x{width}x{channels}, {pixels}"
    )


def _describe_model(vae, settings, initial_epoch):
    num_replicas = vae.distribute_strategy.num_replicas_in_sync
    replicas = f" {num_replicas} replicas;" if num_replicas > 1 else ""
    done = f", {initial_epoch} of them done" if initial_epoch else ""
    return (
        f"{settings.network} network, {vae.latent_dim} latents, {vae.count_params():,} parameters;"
        f"{replicas} up to {settings.epochs} epochs{done}"
    )
