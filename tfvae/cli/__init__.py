"""The `tfvae` command: it parses, calls and prints. TensorFlow is imported when a command runs."""

from tfvae.cli import models, serve, train, tune  # noqa: F401, each registers its commands
from tfvae.cli.app import app, main

__all__ = ["app", "main"]
