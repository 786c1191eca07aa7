"""A trial of a search: models of the same hyperparameters, trained and evaluated."""

import dataclasses
import errno
import math
import os
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfvae import inference
from tfvae.common.files import atomic_write, write_json, write_text
from tfvae.fitting.callbacks import BestWeights
from tfvae.fitting.progress import Progress
from tfvae.training import runs, strategies
from tfvae.training.backups import read_arrays
from tfvae.tuning import oracles
from tfvae.tuning.hypermodel import VAEHyperModel
from tfvae.tuning.results import RESULT, TERMS, TrialResult, average
from tfvae.tuning.search_settings import SearchSettings

WEIGHTS = "execution_{}.npz"
"""In the folder of a trial: the weights of an execution, counted from 0."""

# Lines with which TensorFlow begins an error before it gives the reason.
_PREAMBLES = ("Graph execution error", "Detected at node", "<stack traces", " ")


class TrialTuner(keras_tuner.Tuner):
    """Runs the trials of a search: each of its executions has its own seed."""

    def __init__(self, hypermodel: VAEHyperModel, settings: SearchSettings, folder: Path):
        options = {}
        if settings.algorithm == "Hyperband":
            options["max_epochs"] = hypermodel.settings(keras_tuner.HyperParameters()).epochs
        make_oracle = getattr(oracles, f"{settings.algorithm}Oracle")
        oracle = make_oracle(folder, settings, hypermodel.training.seed, **options)
        super().__init__(oracle, hypermodel, directory=folder.parent, project_name=folder.name)
        self.settings = settings
        self._failure: str | None = None
        self.strategy = strategies.get(hypermodel.training.strategy)
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

    def run_trial(self, trial: Any, images: Any, validation_images: Any) -> dict[str, float]:
        """Trains and evaluates the models of a trial, and returns the mean of the objective."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        hp, objective = trial.hyperparameters, self.settings.objective
        # Hyperband adds values of its own.
        values = {name: hp.values[name] for name in hp.values if not name.startswith("tuner/")}
        result = TrialResult(trial.trial_id, values)
        try:
            records = [
                self._execute(hp, execution, folder, images, validation_images)
                for execution in range(self.settings.executions)
            ]
            result = dataclasses.replace(result, numbers=average(records, objective))
        except Exception as error:
            if os.strerror(errno.ENOSPC) in str(error):
                # Not the trial's fault: it is run again when the search goes on.
                raise keras_tuner.errors.FatalError(str(error)) from error
            write_text(folder / "failure.txt", traceback.format_exc())
            result = dataclasses.replace(result, failure=_reason(error))
        write_json(folder / RESULT, dataclasses.asdict(result))
        print(result.line(objective), flush=True)
        self._failure = result.failure
        return {objective: result.numbers.get(objective, -math.inf)}

    def on_trial_end(self, trial: Any) -> None:
        """Says that a trial failed; where that is raised, KerasTuner prints a traceback."""
        if self._failure and trial.status == "COMPLETED":
            trial.status, trial.message = "FAILED", self._failure
        super().on_trial_end(trial)

    def _execute(self, hp, execution, folder, images, validation_images):
        began = time.perf_counter()
        settings = self.hypermodel.settings(hp)
        seed = settings.seed + execution
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        with strategies.scope(self.strategy):
            vae = self.hypermodel.build(hp)
        # Hyperband goes on with a trial that was promising.
        if "tuner/trial_id" in hp.values:
            continued = Path(self.get_trial_dir(hp.values["tuner/trial_id"]))
            vae.set_weights(read_arrays(continued / WEIGHTS.format(execution)))
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
        with atomic_write(folder / WEIGHTS.format(execution)) as path:
            # Not an HDF5 file, with which a full disk ends in a segmentation fault.
            np.savez(path, *vae.get_weights())
        with warnings.catch_warnings():
            # The effective sample size is among the numbers.
            warnings.simplefilter("ignore", inference.LowEffectiveSampleSizeWarning)
            num_samples = self.settings.num_importance_samples
            numbers = inference.evaluate(
                vae, validation_images, num_samples, settings.seed, verbose=False
            )
        record = {f"val_{name}": number for name, number in numbers.items()}
        record |= {"parameters": vae.count_params(), "epochs": len(history["loss"])}
        record |= {"best_epoch": best_weights.best_epoch + 1}
        record |= {"seconds": time.perf_counter() - began}
        log_dir = Path(self.project_dir, runs.TENSORBOARD, folder.name, f"execution_{execution}")
        _write_summaries(log_dir, hp.values, history, record)
        return record


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
