"""A trial of a search: a model of some hyperparameters, trained and evaluated, and its records."""

import json
import math
import shutil
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfvae.common.files import atomic_write
from tfvae.fitting.callbacks import BestWeights
from tfvae.fitting.progress import Progress
from tfvae.inference.diagnostics import active_units
from tfvae.inference.marginal_likelihood import LowEffectiveSampleSizeWarning, evidence
from tfvae.training import runs
from tfvae.tuning.oracles import FAILURE
from tfvae.vae import VAE

EXECUTIONS = "executions.json"
"""In the folder of a trial: a record of each of its executions that ended."""

TERMS = ("elbo", "log_likelihood", "reconstruction", "kl")
"""What is recorded of the validation images, as `val_<term>` and `val_<term>_stderr`."""

# What TensorFlow puts before the reason of an error.
_PREAMBLES = ("Graph execution error", "Detected at node", "<stack traces", " ")


class TrialTuner(keras_tuner.Tuner):
    """Runs the trials that an oracle gives out, one after the other.

    KerasTuner's tuner with a run of its own: each execution has its seed, ends with the weights of
    its best epoch, and leaves a record, so that a trial that is given out again goes on with the
    executions that it lacks.

    Args:
        oracle: As `tfvae.tuning.oracles.make` gives it.
        hypermodel: A `tfvae.tuning.VAEHyperModel`.
        num_importance_samples: Latents per validation image for log p(x).
        on_end: Is given the folder of each trial that ended.
        **kwargs: Those of `keras_tuner.Tuner`.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        hypermodel: keras_tuner.HyperModel,
        *,
        num_importance_samples: int,
        on_end: Callable[[Path], None],
        **kwargs: Any,
    ):
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)
        self._num_importance_samples = num_importance_samples
        self._on_end = on_end
        self._was_idle = False

    # The state is the oracle's alone: KerasTuner's own file comes only with the first trial's end,
    # and is another one for each process.

    def _get_tuner_fname(self):
        return str(Path(self.project_dir, "oracle.json"))

    def save(self) -> None:
        """Writes the state of the oracle, where it is here."""
        if not self._is_worker():
            self.oracle.save()

    def pre_create_trial(self) -> None:
        """Waits a moment where there was nothing to do."""
        if self._was_idle:
            time.sleep(0.5)
        self._was_idle = True

    def on_trial_begin(self, trial: Any) -> None:
        """Takes note that there is something to do."""
        self._was_idle = False

    def on_trial_end(self, trial: Any) -> None:
        """Tells the oracle."""
        super().on_trial_end(trial)
        self._on_end(Path(self.get_trial_dir(trial.trial_id)))

    def run_trial(self, trial: Any, images: Any, validation_images: Any) -> list[dict[str, float]]:
        """Trains and evaluates a model as often as there shall be executions.

        Args:
            trial: KerasTuner's trial.
            images: As for `tfvae.tuning.search`.
            validation_images: As for `tfvae.tuning.search`.

        Returns:
            The objective of each execution, by its name.

        Raises:
            keras_tuner.errors.FailedTrialError: If it failed.
        """
        folder = Path(self.get_trial_dir(trial.trial_id))
        if (folder / FAILURE).is_file():
            raise keras_tuner.errors.FailedTrialError((folder / FAILURE).read_text("utf-8"))
        records = read_executions(folder)
        try:
            for execution in range(len(records), self.executions_per_trial):
                records.append(self._execute(trial, execution, folder, images, validation_images))
                runs.write_text(folder / EXECUTIONS, json.dumps(records, indent=2) + "\n")
        except keras_tuner.errors.FatalError:
            raise
        except Exception as error:
            write_failure(folder, _reason(error), traceback.format_exc())
            raise keras_tuner.errors.FailedTrialError(_reason(error)) from error
        name = self.oracle.objective.name
        return [{name: record[name]} for record in records]

    def _execute(self, trial, execution, folder, images, validation_images):
        began = time.perf_counter()
        hp = trial.hyperparameters
        settings = self.hypermodel.settings(hp)
        seed = settings.seed + execution
        keras.utils.set_random_seed(seed)
        vae = self._try_build(hp)
        epochs = {"epochs": settings.epochs}
        if "tuner/epochs" in hp.values:
            epochs = {
                "epochs": hp.values["tuner/epochs"],
                "initial_epoch": hp.values["tuner/initial_epoch"],
            }
        if "tuner/trial_id" in hp.values:
            continued = Path(self.get_trial_dir(hp.values["tuner/trial_id"]))
            vae.load_weights(_weights_file(continued, execution))
        best_weights = BestWeights(settings.patience, start_from_epoch=settings.warmup_epochs)
        callbacks = [best_weights]
        progress = Progress()
        if progress.console.is_interactive:
            callbacks.append(progress)
        try:
            history = self.hypermodel.fit(
                hp,
                vae,
                (lambda batch_size: images(batch_size, seed)) if callable(images) else images,
                validation_data=_as_validation_data(validation_images),
                callbacks=callbacks,
                verbose=0,
                **epochs,
            ).history
        finally:
            progress.stop()
        if best_weights.stop_reason == "interrupted":
            raise KeyboardInterrupt
        if not math.isfinite(history["loss"][-1]):
            raise FloatingPointError(best_weights.stop_reason)
        record = {
            "seed": seed,
            "parameters": vae.count_params(),
            "epochs": len(history["loss"]),
            "best_epoch": best_weights.best_epoch + 1,
            **evaluate(vae, validation_images, self._num_importance_samples, settings.seed),
        }
        with atomic_write(_weights_file(folder, execution)) as path:
            vae.save_weights(path)
        record["seconds"] = time.perf_counter() - began
        _write_summaries(
            Path(self.project_dir, runs.TENSORBOARD, folder.name, f"execution_{execution}"),
            hp.values,
            history,
            record,
        )
        return record


def evaluate(
    vae: VAE, images: Any, num_importance_samples: int, seed: int
) -> dict[str, float | int | None]:
    """What is recorded of a model on the validation images.

    Args:
        vae: The model.
        images: As for `tfvae.log_likelihood`.
        num_importance_samples: Latents per image.
        seed: Of the latents.

    Returns:
        The means over the images of the `TERMS` in nats per image, as `val_<term>`, each with a
        `_stderr` over the images (None for a single one); `active_units`; and
        `effective_sample_size`, the median over the images.
    """
    with warnings.catch_warnings():
        # The effective sample size is in the record.
        warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
        result = evidence(vae, images, num_importance_samples, seed, verbose=False)
    record: dict[str, Any] = {}
    for term in TERMS:
        values = np.asarray(getattr(result, term), np.float64)
        record[f"val_{term}"] = float(np.mean(values))
        count = len(values)
        error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else None
        record[f"val_{term}_stderr"] = error
    record["active_units"] = int(np.count_nonzero(active_units(result.posterior)))
    record["effective_sample_size"] = float(np.median(result.effective_sample_size))
    return record


def load_execution(hypermodel: keras_tuner.HyperModel, folder: Path, execution: int) -> VAE:
    """The model of an execution, with its weights.

    Args:
        hypermodel: That of the search.
        folder: That of the trial.
        execution: Its number, from 0.
    """
    trial = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    vae = hypermodel.build(keras_tuner.HyperParameters.from_config(trial["hyperparameters"]))
    vae.load_weights(_weights_file(folder, execution))
    return vae


def read_executions(folder: Path) -> list[dict[str, Any]]:
    """The records of a trial.

    Args:
        folder: That of the trial.

    Returns:
        A record for each execution that ended.
    """
    file = folder / EXECUTIONS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def write_failure(folder: Path, reason: str, explanation: str = "") -> None:
    """Records why a trial failed; where it has not failed yet, it will when it is given out.

    Args:
        folder: That of the trial.
        reason: One line.
        explanation: More lines.
    """
    runs.write_text(folder / FAILURE, f"{reason}\n{explanation}")


def read_failure(folder: Path) -> str | None:
    """Why a trial failed, in one line; None if it did not.

    Args:
        folder: That of the trial.
    """
    file = folder / FAILURE
    return file.read_text(encoding="utf-8").split("\n", 1)[0] if file.is_file() else None


def _weights_file(folder, execution):
    return folder / f"execution_{execution}.weights.h5"


def _as_validation_data(images):
    return images if isinstance(images, tf.data.Dataset) else (images, images)


def _reason(error):
    lines = [line for line in str(error).splitlines() if line and not line.startswith(_PREAMBLES)]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _write_summaries(log_dir, values, history, record):
    # What an execution that was cut off here has left.
    shutil.rmtree(log_dir, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(log_dir))
    with writer.as_default():
        hparams.hparams(values, trial_id=log_dir.parent.name + log_dir.name)
        for name, curve in history.items():
            for epoch, value in enumerate(curve):
                tf.summary.scalar(f"epoch_{name}", value, step=epoch)
        for name, value in record.items():
            if isinstance(value, int | float):
                tf.summary.scalar(name, value, step=0)
    writer.close()
