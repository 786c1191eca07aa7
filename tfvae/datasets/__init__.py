"""TFDS data sets, and the path from their records to batches of images."""

from tfvae.datasets.catalog import describe_dataset
from tfvae.datasets.loading import load_dataset
from tfvae.datasets.sources import DatasetDescription

__all__ = ["DatasetDescription", "describe_dataset", "load_dataset"]
