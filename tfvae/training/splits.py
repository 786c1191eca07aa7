"""Which images of a data set a run learns from, chooses by and is judged by, and their batches."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.datasets import DatasetDescription, describe_dataset, load_dataset
from tfvae.training.settings import TrainingSettings

# Of the noise that makes binary images of grey ones to evaluate on, whatever the seed of training.
EVALUATION_SEED = 0


def sizes(settings: TrainingSettings, description: DatasetDescription) -> dict[str, int]:
    """How many images each split has, by its name, where a run has the settings.

    Args:
        settings: What is trained, on what.
        description: Of the data set of the settings.

    Returns:
        The numbers.

    Raises:
        InputError: If the settings ask for validation images of a data set that has a validation
            split of its own, or for more of them than leave an image to train on.
    """
    counts = dict(description.num_examples)
    asked = settings.num_validation_images
    # A data set without train says so itself, when its images are asked for.
    if asked is None or "train" not in counts:
        return counts
    if not description.validation_is_of_train:
        raise InputError(
            f"num_validation_images is {asked:,}, to be cut from train, and {description.name} has "
            f"a validation split of its own, of {counts['validation']:,} images: leave the setting "
            "out"
        )
    total = counts["train"] + counts["validation"]
    if asked >= total:
        raise InputError(
            f"num_validation_images must leave images to train on, of the {total:,} of "
            f"{description.name}; got {asked:,}: give fewer"
        )
    return counts | {"train": total - asked, "validation": asked}


def load_split(settings: TrainingSettings, split: str, **options: Any) -> tf.data.Dataset:
    """The batches of a split, as the settings say.

    Only images to train on are sampled anew at each epoch. Those to evaluate on are sampled once:
    the same for every epoch, every model, every seed and every machine.

    Args:
        settings: What is trained, on what.
        split: The split.
        **options: Further ones of `load_dataset`.

    Returns:
        The batches, as `load_dataset` gives them.

    Raises:
        InputError: As `load_dataset` and `sizes` do.
    """
    is_train = split == "train"
    binarization = settings.binarization
    if binarization == "dynamic" and not is_train:
        binarization = "fixed"
    if settings.num_validation_images is not None and split in ("train", "validation"):
        counts = sizes(settings, describe_dataset(settings.dataset, settings.data_dir))
        if "train" in counts:
            split = f"train[:{counts['train']}]" if is_train else f"train[{counts['train']}:]"
    options = {"batch_size": settings.batch_size, "binarization": binarization, **options}
    return load_dataset(
        settings.dataset,
        split,
        seed=settings.seed if is_train else EVALUATION_SEED,
        data_dir=settings.data_dir,
        **options,
    )


def first_images(
    settings: TrainingSettings, description: DatasetDescription, *, split: str, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first images of a split, and their labels where the data set has any.

    Args:
        settings: What is trained, on what.
        description: Of the data set of the settings.
        split: The split.
        count: How many images.

    Raises:
        InputError: As `load_split` does.

    Returns:
        `[count, height, width, channels]`, binarised as for evaluation, and `[count]` or None.
    """
    labelled = description.class_names is not None
    batches = load_split(settings, split, batch_size=count, shuffle=False, with_labels=labelled)
    batch = next(iter(batches))
    return (batch[0].numpy(), batch[1].numpy()) if labelled else (batch.numpy(), None)
