"""A trial of a search: models of the same hyperparameters, trained, evaluated and recorded."""

import json
import math
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfvae import inference
from tfvae.common.files import atomic_write
from tfvae.fitting.callbacks import BestWeights
from tfvae.fitting.progress import Progress
from tfvae.training import runs, strategies
from tfvae.tuning import oracles
from tfvae.tuning.hypermodel import VAEHyperModel
from tfvae.tuning.results import FAILURE, RECORDS, TERMS, read_records, read_trial
from tfvae.tuning.search_settings import SearchSettings

# Lines with which TensorFlow begins an error before it gives the reason.
_PREAMBLES = ("Graph execution error", "Detected at node", "<stack traces", " ")


class TrialTuner(keras_tuner.Tuner):
    """Runs the trials of a search.

    Each execution of a trial has its own seed, ends with the weights of its best epoch and leaves a
    record, so that a trial that was cut off goes on with the executions that it lacks.
    """

    def __init__(self, hypermodel: VAEHyperModel, settings: SearchSettings, folder: Path):
        options = {}
        if settings.algorithm == "Hyperband":
            options["max_epochs"] = hypermodel.settings(keras_tuner.HyperParameters()).epochs
        make_oracle = getattr(oracles, f"{settings.algorithm}Oracle")
        oracle = make_oracle(folder, settings, hypermodel.training.seed, **options)
        super().__init__(
            oracle,
            hypermodel,
            executions_per_trial=settings.executions,
            distribution_strategy=strategies.get(hypermodel.training.strategy),
            directory=folder.parent,
            project_name=folder.name,
        )
        self.settings = settings
        # KerasTuner has replaced the oracle if it is in another process.
        self.is_worker = self.oracle is not oracle
        if not self.is_worker:
            oracle.reload()

    def save(self) -> None:
        """Saves the oracle; a file of the tuner, as KerasTuner writes, would have nothing in it."""
        if not self.is_worker:
            self.oracle.save()

    def pre_create_trial(self) -> None:
        """Keeps a worker without a trial from asking the chief for one all the time."""
        if self.is_worker:
            time.sleep(0.5)

    def on_trial_end(self, trial: Any) -> None:
        """Tells the oracle and the user."""
        super().on_trial_end(trial)
        folder = Path(self.get_trial_dir(trial.trial_id))
        result = read_trial(folder, trial.status, trial.hyperparameters.values)
        print(result.line(self.settings.objective), flush=True)

    def run_trial(self, trial: Any, images: Any, validation_images: Any) -> list[dict[str, float]]:
        """Trains and evaluates a model for each execution, and returns the objective of each.

        Raises:
            keras_tuner.errors.FailedTrialError: If an execution fails.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        records = read_records(folder)
        try:
            for execution in range(len(records), self.executions_per_trial):
                hp = trial.hyperparameters
                records.append(self._execute(hp, execution, folder, images, validation_images))
                runs.write_text(folder / RECORDS, json.dumps(records, indent=2) + "\n")
        except Exception as error:
            runs.write_text(folder / FAILURE, f"{_reason(error)}\n{traceback.format_exc()}")
            raise keras_tuner.errors.FailedTrialError(_reason(error)) from error
        name = self.settings.objective
        return [{name: record[name]} for record in records]

    def _execute(self, hp, execution, folder, images, validation_images):
        began = time.perf_counter()
        settings = self.hypermodel.settings(hp)
        seed = settings.seed + execution
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        with strategies.scope(self.distribution_strategy):
            vae = self.hypermodel.build(hp)
        # Hyperband goes on with a trial that was promising.
        if "tuner/trial_id" in hp.values:
            continued = Path(self.get_trial_dir(hp.values["tuner/trial_id"]))
            vae.load_weights(weights_file(continued, execution))
        best_weights = BestWeights(settings.patience, start_from_epoch=settings.warmup_epochs)
        progress = Progress()
        is_dataset = isinstance(validation_images, tf.data.Dataset)
        try:
            history = self.hypermodel.fit(
                hp,
                vae,
                (lambda batch_size: images(batch_size, seed)) if callable(images) else images,
                validation_data=validation_images if is_dataset else (validation_images,) * 2,
                epochs=hp.values.get("tuner/epochs", settings.epochs),
                initial_epoch=hp.values.get("tuner/initial_epoch", 0),
                callbacks=[best_weights, progress][: 1 + progress.console.is_interactive],
                verbose=0,
            ).history
        finally:
            progress.stop()
        if best_weights.stop_reason == "interrupted":
            raise KeyboardInterrupt
        if not math.isfinite(history["loss"][-1]):
            raise FloatingPointError(best_weights.stop_reason)
        with atomic_write(weights_file(folder, execution)) as path:
            vae.save_weights(path)
        num_samples = self.settings.num_importance_samples
        with warnings.catch_warnings():
            # The effective sample size is in the record.
            warnings.simplefilter("ignore", inference.LowEffectiveSampleSizeWarning)
            numbers = inference.evaluate(
                vae, validation_images, num_samples, settings.seed, verbose=False
            )
        record = {
            "seed": seed,
            "parameters": vae.count_params(),
            "epochs": len(history["loss"]),
            "best_epoch": best_weights.best_epoch + 1,
            **{f"val_{name}": number for name, number in numbers.items()},
            "seconds": time.perf_counter() - began,
        }
        log_dir = Path(self.project_dir, runs.TENSORBOARD, folder.name, f"execution_{execution}")
        _write_summaries(log_dir, hp.values, history, record)
        return record


def weights_file(folder: Path, execution: int) -> Path:
    """Names the file of the weights of an execution, numbered from 0, in the folder of a trial."""
    return folder / f"execution_{execution}.weights.h5"


def _write_summaries(log_dir, values, history, record):
    """Writes the curves and numbers of an execution for TensorBoard and its HParams view."""
    with tf.summary.create_file_writer(str(log_dir)).as_default():
        hparams.hparams(values, trial_id=f"{log_dir.parent.name}_{log_dir.name}")
        curves = {f"epoch_{name}": curve for name, curve in history.items()}
        for name, curve in (curves | {term: [record[term]] for term in TERMS}).items():
            for step, value in enumerate(curve):
                tf.summary.scalar(name, value, step=step)


def _reason(error):
    lines = [line for line in str(error).splitlines() if line and not line.startswith(_PREAMBLES)]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
