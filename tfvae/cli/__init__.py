"""The `tfvae` command: it parses, calls and prints. TensorFlow is imported when a command runs."""

import sys

import typer

from tfvae.cli import models, recipes, serve, train, tune  # noqa: F401, each registers its commands
from tfvae.cli.app import app
from tfvae.common.errors import InputError, WorkerLostError


def main() -> None:
    """Runs the command: exit code 0 if it was done, 2 if what was given cannot be used."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except WorkerLostError as error:
        _fail(str(error), code=1)
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        reason = error.strerror or error
        _fail(f"cannot read or write{place}: {reason}: make room or permission, or go elsewhere")


def _fail(message, code=2):
    typer.echo(f"tfvae: {message}", err=True)
    sys.exit(code)
