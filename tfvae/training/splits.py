"""The images that a run learns from, chooses its best epoch by and is judged by."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.datasets import DatasetDescription, describe_dataset, load_dataset
from tfvae.training.settings import TrainingSettings

EVALUATION_SEED = 0
"""The seed with which gray images to evaluate on are binarized, whatever that of training."""


def sizes(settings: TrainingSettings, description: DatasetDescription) -> dict[str, int]:
    """How many images each split of the data set has under these settings, by its name."""
    counts = {"test": 0, **description.num_examples}
    num_validation = settings.num_validation_images
    # A data set without train says so itself when its images are asked for.
    if num_validation is None or "train" not in counts:
        return counts
    if not description.validation_is_of_train:
        raise InputError(
            f"num_validation_images is {num_validation:,}, to be cut from train, and "
            f"{description.name} has a validation split of its own, of {counts['validation']:,} "
            "images: leave the setting out"
        )
    total = counts["train"] + counts["validation"]
    if num_validation >= total:
        raise InputError(
            f"num_validation_images must leave images to train on, of the {total:,} of "
            f"{description.name}; got {num_validation:,}: give fewer"
        )
    return counts | {"train": total - num_validation, "validation": num_validation}


def load_split(settings: TrainingSettings, split: str, **options: Any) -> tf.data.Dataset:
    """The batches of a split as the settings say; `options` of `load_dataset` go over them.

    Only images to train on are sampled anew at each epoch. Those to evaluate on are sampled once:
    the same for every epoch, every model, every seed and every machine.
    """
    is_train = split == "train"
    binarization = settings.binarization
    if binarization == "dynamic" and not is_train:
        binarization = "fixed"
    if settings.num_validation_images is not None and split in ("train", "validation"):
        counts = sizes(settings, describe_dataset(settings.dataset, settings.data_dir))
        if "train" in counts:
            split = f"train[:{counts['train']}]" if is_train else f"train[{counts['train']}:]"
    options = {"batch_size": settings.batch_size, "binarization": binarization} | options
    seed = settings.seed if is_train else EVALUATION_SEED
    return load_dataset(settings.dataset, split, seed=seed, data_dir=settings.data_dir, **options)


def first_images(
    settings: TrainingSettings, description: DatasetDescription, *, split: str, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first images of a split, and their labels if the data set has any.

    Returns:
        `[count, height, width, channels]`, binarized as for evaluation, and `[count]` or None.
    """
    has_labels = description.class_names is not None
    batches = load_split(settings, split, batch_size=count, shuffle=False, with_labels=has_labels)
    batch = next(iter(batches))
    return (batch[0].numpy(), batch[1].numpy()) if has_labels else (batch.numpy(), None)
