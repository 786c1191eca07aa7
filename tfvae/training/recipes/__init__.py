"""Settings that train models of the literature, each with the number that was published."""

from tfvae.training.recipes.reading import Paper, Recipe, Result, load, names

__all__ = ["Paper", "Recipe", "Result", "load", "names"]
