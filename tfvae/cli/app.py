"""The command itself, and its start."""

import contextlib
import importlib.metadata
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated

import typer

from tfvae import __version__
from tfvae.training.settings import Strategy

app = typer.Typer(
    help="Variational autoencoders for Keras and TensorFlow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_versions(asked: bool) -> None:
    if asked:
        typer.echo(f"tfvae {__version__}")
        for package in ("tensorflow", "keras", "tensorflow-probability"):
            typer.echo(f"{package} {importlib.metadata.version(package)}")
        raise typer.Exit


@app.callback()
def _tfvae(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions."),
    ] = False,
) -> None:
    pass


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keeps what TensorFlow's libraries print while they load, and shows it if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(terminal, chatter.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def start(strategy: Strategy = "auto") -> ModuleType:
    """Imports TensorFlow, quietly, and gives what the commands call."""
    with _quiet_start():
        import tensorflow as tf

        from tfvae.cli import commands

        # What is said about devices is said when they are first asked for. Several workers must
        # have found each other by then.
        if strategy != "multi_worker":
            tf.config.list_logical_devices()
    for library in ("absl", "tensorflow"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.showwarning = _show_warning
    return commands


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """Our own warnings are for users; those of the libraries are for us, not for users."""
    if category.__module__.startswith("tfvae."):
        typer.echo(f"tfvae: warning: {message}", err=True)
