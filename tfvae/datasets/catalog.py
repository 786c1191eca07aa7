"""Descriptions of data sets, and where their images, labels and splits are."""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from tfvae.common.errors import InputError
from tfvae.datasets.preparation import open_builder, prepare

# Data sets that TFDS stores as 0 and 1, although the type of their images goes further.
MAXIMUM_INTENSITIES = {"binarized_mnist": 1, "dsprites": 1}

# Where TFDS has no validation split: its end of train, so that test is never looked at.
SPLITS_OF_TRAIN = {"train": "train[:90%]", "validation": "train[90%:]"}


@dataclasses.dataclass(frozen=True)
class DatasetDescription:
    """What is known of a data set before its images are read.

    Attributes:
        name: The full name with its version, such as `mnist/3.0.1`.
        image_shape: `(height, width, channels)`.
        image_dtype: The type in which the images are stored.
        maximum_intensity: The stored value that means an intensity of 1.
        num_examples: The number of images of each split, by the split's name. Where TFDS gives no
            validation split, `train` is the first 90 % of TFDS's and `validation` the rest.
        validation_is_of_train: Whether `validation` is cut from TFDS's train, for want of another.
        class_names: The names of the labels 0, 1, ...; `None` for a data set without labels.
    """

    name: str
    image_shape: tuple[int, int, int]
    image_dtype: np.dtype
    maximum_intensity: float
    num_examples: Mapping[str, int]
    validation_is_of_train: bool
    class_names: tuple[str, ...] | None


def describe_dataset(
    name: str = "digits", data_dir: str | os.PathLike | None = None
) -> DatasetDescription:
    """Describes a data set without reading its images; prepares it where it is not on disk yet.

    Args:
        name: `digits` or the name of a TFDS data set with one image per record.
        data_dir: The TFDS data directory; `None` for TFDS's own, which is `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.

    Returns:
        The description.

    Raises:
        InputError: If there is no such data set, if it is not on disk and cannot be brought
            there, or if its records do not hold exactly one image of a fixed size.

    Example:
        >>> describe_dataset("digits").image_shape
        (28, 28, 1)
    """
    return describe(prepared_builder(name, data_dir))


def prepared_builder(name: str, data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    """Opens a data set that holds images, and prepares it; arguments as `describe_dataset`."""
    builder = open_builder(name, data_dir)
    image_feature(builder)  # refused before anything is downloaded
    prepare(builder)
    return builder


def describe(builder: tfds.core.DatasetBuilder) -> DatasetDescription:
    """Describes the data set of a prepared builder."""
    image = builder.info.features[image_feature(builder)]
    dtype = np.dtype(image.np_dtype)
    largest = np.iinfo(dtype).max if dtype.kind in "ui" else 1.0
    label = label_feature(builder)
    splits = _tfds_splits(builder)
    return DatasetDescription(
        name=builder.info.full_name,
        image_shape=tuple(image.shape),
        image_dtype=dtype,
        maximum_intensity=MAXIMUM_INTENSITIES.get(builder.name, largest),
        num_examples={
            name: builder.info.splits[split].num_examples for name, split in splits.items()
        },
        validation_is_of_train=splits.items() >= SPLITS_OF_TRAIN.items(),
        class_names=tuple(builder.info.features[label].names) if label else None,
    )


def image_feature(builder: tfds.core.DatasetBuilder) -> str:
    """Finds the name of the one image feature of fixed size, or raises `InputError`."""
    name = builder.info.full_name
    features = builder.info.features
    keys = features if isinstance(features, tfds.features.FeaturesDict) else ()
    images = [key for key in keys if isinstance(features[key], tfds.features.Image)]
    if len(images) != 1:
        found = f"these: {', '.join(images)}" if images else "none"
        raise InputError(f"a data set must have exactly one image per record; {name!r} has {found}")
    shape = features[images[0]].shape
    if None in shape:
        raise InputError(
            f"the images of {name!r} vary in size (their shape is {shape}); images of one fixed "
            "size are needed: give the model a tf.data.Dataset in which you resize them"
        )
    return images[0]


def label_feature(builder: tfds.core.DatasetBuilder) -> str | None:
    """Finds the name of the feature with the class, where there is one."""
    features = builder.info.features
    is_class = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    return "label" if is_class else None


def _tfds_splits(builder: tfds.core.DatasetBuilder) -> dict[str, str]:
    splits = {name: name for name in builder.info.splits}
    must_cut = "train" in splits and "validation" not in splits
    return splits | SPLITS_OF_TRAIN if must_cut else splits


def resolve_split(builder: tfds.core.DatasetBuilder, split: str) -> str:
    """Translates a split's name to TFDS's slicing, and checks that it is there and not empty."""
    splits = _tfds_splits(builder)
    resolved = splits.get(split, split)
    try:
        num_examples = builder.info.splits[resolved].num_examples
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(
            f"the data set {builder.info.full_name!r} has no split {split!r}; it has "
            f"{', '.join(splits)}, and slices of TFDS's splits such as 'train[:10%]' or "
            "'train[100:200]'"
        ) from error
    if num_examples == 0:
        raise InputError(
            f"the split {split!r} of {builder.info.full_name!r} is empty: ask for one with images"
        )
    return resolved
