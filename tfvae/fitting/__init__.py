"""How `fit` takes its steps: the loop, replicas, optimizers, metrics and callbacks."""

from tfvae.fitting import callbacks, optimizers

__all__ = ["callbacks", "optimizers"]
