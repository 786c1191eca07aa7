import io
import re
import time

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

import tfvae
from tfvae.fitting import progress
from tfvae.fitting.progress import Progress


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120)


@pytest.fixture
def log():
    return Console(file=io.StringIO())


class Model:
    """What the callback asks of a model whose ELBO is minus the steps that it has not done yet."""

    elbo = -10.0

    @property
    def distribute_strategy(self):
        return tf.distribute.get_strategy()

    def get_metrics_result(self):
        return {"loss": -self.elbo, "elbo": self.elbo}


def fit(console, quantity="elbo", epochs=3, first_epoch=0, last_epoch=2):
    """Calls a callback as `fit` does, with two steps per epoch; the logs of the last epoch."""
    bar = Progress(console, quantity)
    bar.set_params({"epochs": epochs, "steps": 2})
    bar.set_model(Model())
    bar.on_train_begin()
    for epoch in range(first_epoch, min(epochs, last_epoch + 1)):
        bar.on_epoch_begin(epoch)
        for step in range(2):
            bar.on_train_batch_begin(step)
            bar.model.elbo += 1
            bar.on_train_batch_end(step)
        logs = bar.model.get_metrics_result()
        logs |= {f"val_{name}": 1.5 * value for name, value in logs.items()}
        bar.on_epoch_end(epoch, logs)
    bar.on_train_end(logs)
    return logs


def shown(console):
    return console.file.getvalue()


def terms(logs, name="elbo"):
    return f"{name} {logs[name]:.2f}  val_{name} {logs[f'val_{name}']:.2f}"


def test_a_fit_is_shown_to_its_end(log):
    encoder, decoder = tfvae.networks.build("mlp", (4, 4, 1), 2, hidden=(4,))
    vae = tfvae.VAE(encoder=encoder, decoder=decoder)
    vae.compile(run_eagerly=True)
    images = np.random.default_rng(0).random((8, 4, 4, 1), dtype=np.float32)
    history = vae.fit(
        images, validation_data=(images,), batch_size=4, verbose=0, callbacks=[Progress(log)]
    ).history
    last = {name: values[-1] for name, values in history.items()}
    assert re.fullmatch(rf"epoch 1/1  {terms(last)}  \d+ s\n", shown(log))


def test_terminal_shows_the_epoch_and_its_terms(terminal, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REFRESHES", 0.0)
    logs = fit(terminal)
    for text in ("epoch 0/3", "epoch 1/3  step 1/2", "epoch 3/3  step 1/2", terms(logs)):
        assert text in shown(terminal)


def test_another_quantity_is_shown_within_epochs_and_after_them(terminal, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REFRESHES", 0.0)
    logs = fit(terminal, quantity="loss")
    assert "epoch 1/3  step 1/2  loss 9.00" in shown(terminal)
    assert terms(logs, "loss") in shown(terminal)
    assert "elbo" not in shown(terminal)


def test_terminal_is_refreshed_seldom(terminal, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REFRESHES", 1000.0)
    fit(terminal)
    assert "epoch 0/3" in shown(terminal)
    assert "epoch 1/3" not in shown(terminal)
    assert "epoch 3/3" in shown(terminal)


def test_terminal_is_given_back(terminal):
    fit(terminal)
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert shown(terminal).count(hide) == shown(terminal).count(show) == 1


def test_terminal_is_given_back_after_an_error(terminal):
    bar = Progress(terminal)
    bar.set_params({"epochs": 1, "steps": 1})
    bar.on_train_begin()
    bar.stop()
    bar.stop()
    assert shown(terminal).count("\x1b[?25h") == 1


def test_a_stop_before_the_last_epoch_ends_the_bar(terminal):
    logs = fit(terminal, last_epoch=0)
    last = shown(terminal).split("\r")[-1]
    assert f"done  epoch 1/3  {terms(logs)}" in last


def test_resumed_training_shows_the_true_epoch(log):
    fit(log, first_epoch=2)
    assert "epoch 3/3" in shown(log)
    assert "epoch 1/3" not in shown(log)


def test_log_has_plain_lines(log):
    logs = fit(log)
    (line,) = shown(log).splitlines()
    assert line.startswith(f"epoch 3/3  {terms(logs)}  ")
    assert line.endswith(" s")
    assert "\x1b" not in line


def test_log_has_a_line_every_so_many_seconds(log, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    fit(log)
    lines = shown(log).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "elbo -8.00" in lines[0]


def test_log_has_lines_within_long_epochs(log, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES_OF_STEPS", 0.0)
    fit(log, epochs=1)
    assert shown(log).startswith("epoch 1/1  step 1/2  elbo -9.00")


def test_steps_between_refreshes_cost_next_to_nothing(terminal, monkeypatch):
    bar = Progress(terminal)
    bar.set_params({"epochs": 1, "steps": 10})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    # Without a model: between refreshes nothing may be asked of it.
    monkeypatch.setattr(time, "monotonic", lambda: bar._last_shown)
    before = shown(terminal)
    for step in range(10):
        bar.on_train_batch_begin(step)
    assert shown(terminal) == before
    bar.stop()
