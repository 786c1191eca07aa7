"""What the numbers of a network mean: distributions, their noise and their gradients."""

from tfvae.distributions import likelihoods

__all__ = ["likelihoods"]
