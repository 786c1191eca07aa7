"""Pictures of a model and of its training."""
