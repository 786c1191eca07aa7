"""Which images of a data set a run learns from, chooses by and is judged by, and their batches."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.datasets import DatasetDescription, describe_dataset, load_dataset
from tfvae.errors import InputError
from tfvae.settings import TrainingSettings

# Of the noise that makes binary images of grey ones to evaluate on, whatever the seed of training.
EVALUATION_SEED = 0


def sizes(settings: TrainingSettings, description: DatasetDescription) -> dict[str, int]:
    """How many images each split has, by its name, where a run has the settings.

    Args:
        settings: What is trained, on what.
        description: Of the data set of the settings.

    Raises:
        InputError: If the settings ask for validation images of a data set that has a validation
            split of its own, or for more of them than leave an image to train on.
    """
    counts = dict(description.num_examples)
    if settings.validation_images is None:
        return counts
    if not description.validation_is_of_train:
        raise InputError(
            f"validation_images are cut from the train split; {description.name} has a validation "
            f"split of its own, of {counts['validation']:,} images: leave them out"
        )
    total = counts["train"] + counts["validation"]
    if settings.validation_images >= total:
        raise InputError(
            f"validation_images must leave images to train on, of the {total:,} of "
            f"{description.name}; got {settings.validation_images:,}"
        )
    return counts | {
        "train": total - settings.validation_images,
        "validation": settings.validation_images,
    }


def load_split(settings: TrainingSettings, split: str, **options: Any) -> tf.data.Dataset:
    """The batches of a split, as the settings say.

    Only images to train on are sampled anew at each epoch. Those to evaluate on are sampled once:
    the same for every epoch, every model, every seed and every machine.

    Args:
        settings: What is trained, on what.
        split: The split.
        **options: Further ones of `load_dataset`.

    Raises:
        InputError: As `load_dataset` and `sizes` do.
    """
    is_train = split == "train"
    binarization = settings.binarization
    if binarization == "dynamic" and not is_train:
        binarization = "fixed"
    if settings.validation_images is not None and split in ("train", "validation"):
        # Checks the number.
        sizes(settings, describe_dataset(settings.dataset, settings.data_dir))
        end = f"-{settings.validation_images}"
        split = f"train[:{end}]" if is_train else f"train[{end}:]"
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

    Returns:
        `[count, height, width, channels]`, binarised as for evaluation, and `[count]` or None.
    """
    labelled = description.class_names is not None
    batches = load_split(settings, split, batch_size=count, shuffle=False, with_labels=labelled)
    batch = next(iter(batches))
    return (batch[0].numpy(), batch[1].numpy()) if labelled else (batch.numpy(), None)
