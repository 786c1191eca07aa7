"""The progress of training, on a terminal or in a log."""

import time
from typing import Any

import keras
import rich.progress
from rich.console import Console

from tfvae.fitting.replicas import has_several_workers

# A refresh draws the bar anew, which takes milliseconds: often enough to look alive, and no more.
SECONDS_BETWEEN_REFRESHES = 0.2
SECONDS_BETWEEN_LINES = 10.0
# A line within an epoch is needed only where epochs are long.
SECONDS_BETWEEN_LINES_OF_STEPS = 60.0


class Progress(keras.callbacks.Callback):
    """One live progress bar for the whole of training; without a terminal, plain lines.

    Args:
        console: Where to write; standard error by default, so that standard output holds results.
        quantity: The log that is shown, of training and of validation.

    Example:
        >>> vae.fit(images, epochs=50, verbose=0, callbacks=[Progress()])
    """

    def __init__(self, console: Console | None = None, quantity: str = "elbo"):
        super().__init__()
        self.quantity = quantity
        self.console = console or Console(stderr=True)
        self._bar: rich.progress.Progress | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the bar."""
        self._steps = self.params.get("steps")
        self._epoch = self._step = 0
        self._began = self._last_shown = time.monotonic()
        self._shown = None
        self._terms: dict[str, float] = {}
        self._task: rich.progress.TaskID | None = None
        if self.console.is_interactive:
            self._bar = rich.progress.Progress(
                rich.progress.BarColumn(bar_width=self.console.width // 8),
                rich.progress.TimeRemainingColumn(elapsed_when_finished=True),
                rich.progress.TextColumn("{task.description}"),
                console=self.console,
                auto_refresh=False,
            )
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the epoch."""
        self._epoch, self._step = epoch, 0
        if self._bar and self._task is None:
            # Only now, so that epochs done before training was resumed do not count as speed.
            self._task = self._bar.add_task("", total=self.params["epochs"], completed=epoch)
            self._show()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows where training is, unless that was shown a moment ago."""
        # Not `on_train_batch_end`: to give it logs, Keras waits for the device after every step.
        self._step = batch
        pause = SECONDS_BETWEEN_REFRESHES if self._bar else SECONDS_BETWEEN_LINES_OF_STEPS
        if batch and time.monotonic() - self._last_shown >= pause:
            # The metrics of several workers are read by all of them at once, or not at all.
            if not has_several_workers(self.model.distribute_strategy):
                self._terms[self.quantity] = float(self.model.get_metrics_result()[self.quantity])
            self._show()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the terms of the epoch."""
        self._steps = self._steps or self._step + 1
        self._epoch, self._step = epoch + 1, 0
        names = (self.quantity, f"val_{self.quantity}")
        logs = logs or {}
        self._terms |= {name: logs[name] for name in names if name in logs}
        pause = SECONDS_BETWEEN_REFRESHES if self._bar else SECONDS_BETWEEN_LINES
        if time.monotonic() - self._last_shown >= pause:
            self._show()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Shows where training ended."""
        if self._bar and self._task is not None:
            # Stopped early or not, nothing is left to do.
            self._bar.update(self._task, total=self._epoch)
        if self._bar or self._shown != (self._epoch, self._step):
            self._show()
        self.stop()

    def stop(self) -> None:
        """Gives the terminal back, also when an error has ended training."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _show(self):
        self._last_shown = time.monotonic()
        self._shown = (self._epoch, self._step)
        # The epoch that is running, or the last one that is done.
        parts = [f"epoch {self._epoch + bool(self._step)}/{self.params['epochs']}"]
        if self._step:
            parts.append(f"step {self._step}/{self._steps or '?'}")
        parts += [f"{name} {value:.2f}" for name, value in self._terms.items()]
        if self._bar:
            completed = self._epoch + (self._step / self._steps if self._steps else 0.0)
            finished = completed >= self._bar.tasks[self._task].total
            parts.insert(0, "done" if finished else "left")
            self._bar.update(
                self._task, description="  ".join(parts), completed=completed, refresh=True
            )
        else:
            parts.append(f"{self._last_shown - self._began:.0f} s")
            self.console.print("  ".join(parts), highlight=False, soft_wrap=True)
