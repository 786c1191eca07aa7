"""What steers training from outside of its steps: the weight of the KL, when to stop."""

import math
import signal
import threading
from types import FrameType
from typing import Any

import keras

from tfvae.common.checks import check_integer, check_number
from tfvae.common.errors import InputError


class KLWarmup(keras.callbacks.Callback):
    """Raises the weight of the KL linearly during the first epochs.

    Training on the full ELBO from the start drives many latents to the prior before the decoder
    has learned to use them; a weight that starts at 0 lets it learn first. Beta is a function of
    the epoch and the step alone, so that training that is resumed with `initial_epoch` goes on
    where it was. It changes with every execution of steps (16 of them by default) where the steps
    of an epoch are known, with every epoch where they are not (a data set of unknown cardinality,
    without `steps_per_epoch`).

    The logs of each epoch hold `beta`, as it stood in the last step and in validation: `History`
    has it always, `CSVLogger` and `TensorBoard` where they are listed after this callback.

    Args:
        epochs: How long it takes, in epochs, above 0; fractions are possible.
        start: The weight at the first step, at least 0.
        end: The weight from the end of the warm-up on, at least 0. By default the one that the
            model was compiled with.

    Raises:
        InputError: If an argument is not such a number. From `fit`: if the objective has no beta,
            or if training is resumed within the warm-up and `end` is not given.

    Example:
        >>> vae.compile(objective=tfvae.objectives.ELBO(beta=0.5))
        >>> vae.fit(images, epochs=50, callbacks=[KLWarmup(epochs=10)])  # from 0 to 0.5

    References:
        Bowman et al. Generating Sentences from a Continuous Space. 2015. arXiv:1511.06349.
        Sønderby et al. Ladder Variational Autoencoders. 2016. arXiv:1602.02282.
    """

    def __init__(self, epochs: float, start: float = 0.0, end: float | None = None):
        super().__init__()
        self.epochs = check_number("epochs of a warm-up", epochs, above=0)
        self.start = check_number("start", start, minimum=0)
        self.end = end if end is None else check_number("end", end, minimum=0)
        self._objective: Any = None
        self._end = self.end
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the objective."""
        objective = getattr(self.model, "objective", None)
        if not hasattr(objective, "beta"):
            raise InputError(
                "KLWarmup needs an objective with a beta, such as tfvae.objectives.ELBO(); the "
                f"model was compiled with {type(objective).__name__}"
            )
        # An objective that this callback has seen before holds the callback's own beta.
        if objective is not self._objective:
            self._objective = objective
            self._end = self.end

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets beta."""
        if self._end is None:
            if 0 < epoch < self.epochs:
                raise InputError(
                    f"training is resumed in epoch {epoch} of a warm-up of {self.epochs:g}, where "
                    f"the objective's beta of {self._objective.beta:g} may be the warm-up's own: "
                    "say where it leads to, KLWarmup(..., end=1.0)"
                )
            self._end = self._objective.beta
        self._epoch = epoch
        self._objective.beta = self._beta_at(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets beta."""
        steps = self.params.get("steps")
        if steps and self._epoch < self.epochs:
            self._objective.beta = self._beta_at(self._epoch + batch / steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs beta; sets what it is after this epoch, should it be the last."""
        if logs is not None:
            logs["beta"] = self._objective.beta
        self._objective.beta = self._beta_at(epoch + 1)

    def _beta_at(self, epoch):
        progress = min(epoch / self.epochs, 1.0)
        return (1.0 - progress) * self.start + progress * self._end


class BestWeights(keras.callbacks.EarlyStopping):
    """Ends training with the best weights, whatever ends it.

    Keras's `EarlyStopping`, for a VAE: the best epoch is that of the highest validation ELBO, and
    its weights are in the model when `fit` returns, if

    - all epochs are done;
    - there was no better epoch for `patience` epochs;
    - the loss of an epoch was not finite;
    - Ctrl-C was pressed: the step that is running is finished, the epoch is cut off there and
      validated, and `fit` returns. A second Ctrl-C raises `KeyboardInterrupt` at once;
      `on_train_end` may then be called by hand.

    Where the optimizer averages the weights (`use_ema=True`), the averaged ones are validated and
    kept; training itself goes on with its own.

    A loss that is not finite is noticed at the end of its epoch; add
    `keras.callbacks.TerminateOnNaN` to have it checked after every step, at the cost of waiting
    for the device.

    Args:
        patience: How many epochs without a better one, at least 1.
        monitor: A key of the epoch logs. `"val_loss"` and `"loss"` are best low, any other is
            best high.
        start_from_epoch: Epochs before this one are not compared, such as those of a warm-up.

    Attributes:
        stop_reason: Why training ended before its last epoch; None if it did not.
        best_epoch: The epoch of the best weights, counted from 0.
        best: What `monitor` was there; None before any epoch was compared.

    Raises:
        InputError: If `patience` is not positive. From `fit`: if the loss is not finite before
            there was any epoch to go back to.

    Example:
        >>> best_weights = BestWeights(patience=10)
        >>> vae.fit(images, validation_data=held_out, epochs=100, callbacks=[best_weights])
        >>> best_weights.stop_reason
        'val_elbo has not improved for 10 epochs'
    """

    def __init__(self, patience: int, monitor: str = "val_elbo", start_from_epoch: int = 0):
        patience = check_integer("patience", patience, minimum=1)
        super().__init__(
            monitor=monitor,
            mode="min" if monitor in ("loss", "val_loss") else "max",
            patience=patience,
            restore_best_weights=True,
            start_from_epoch=start_from_epoch,
        )
        self.best = None
        self.best_epoch = 0
        self.stop_reason: str | None = None
        self._previous_handler: Any = None
        self._averages = keras.callbacks.SwapEMAWeights()

    def set_model(self, model: keras.Model) -> None:
        """Takes note of the model."""
        super().set_model(model)
        self._averages.set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts anew, and listens to Ctrl-C."""
        super().on_train_begin(logs)
        self.stop_reason = None
        # Python lets only the main thread set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the averaged weights into the model."""
        self._swap_averages("on_test_begin")

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights of training back into the model."""
        self._swap_averages("on_test_end")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights if they are the best; says whether to stop."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            # Not shown to EarlyStopping, which takes the first weights it sees for the best.
            self.stop_reason = f"the loss is {loss} in epoch {epoch + 1}"
            self.model.stop_training = True
            return
        self._swap_averages("on_test_begin")
        super().on_epoch_end(epoch, logs)
        self._swap_averages("on_test_end")
        if self.model.stop_training and self.stop_reason is None and self.wait >= self.patience:
            self.stop_reason = f"{self.monitor} has not improved for {self.wait} epochs"

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the best weights."""
        self._stop_listening()
        super().on_train_end(logs)
        if self.best_weights is None and not math.isfinite((logs or {}).get("loss", 0.0)):
            raise InputError(
                f"{self.stop_reason}, and there is no earlier epoch to go back to: lower the "
                "learning rate, or clip the gradients with the optimizer's clipnorm"
            )

    def _swap_averages(self, event):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if optimizer.use_ema:
            getattr(self._averages, event)()

    def _on_interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self._stop_listening()
        self.stop_reason = "interrupted"
        self.model.stop_training = True

    def _stop_listening(self):
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None
