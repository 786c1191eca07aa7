"""From the name of a data set to where its images, labels and splits are."""

import os
from functools import partial

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfvae.common.errors import InputError
from tfvae.datasets.embedded import EmbeddedBuilder, embedded_source
from tfvae.datasets.preparation import open_builder, prepare
from tfvae.datasets.sources import DatasetDescription, Source

# Where the type of the images goes further than their greatest value.
MAXIMUM_INTENSITIES = {"binarized_mnist": 1, "dsprites": 1, "digits/8x8": 16}

# Where TFDS has no validation split: its end of train, so that test is never looked at.
SPLITS_OF_TRAIN = {"train": "train[:90%]", "validation": "train[90%:]"}


def describe_dataset(
    name: str = "digits", data_dir: str | os.PathLike | None = None
) -> DatasetDescription:
    """Describes a data set without reading its images; prepares it where it is not on disk yet.

    Args:
        name: `digits`, `digits/8x8`, `photo_patches` or the name of a TFDS data set with one image
            per record.
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
    return open_source(name, data_dir).description


def open_source(name: str, data_dir: str | os.PathLike | None) -> Source:
    """Opens a data set, and prepares it where it must be; arguments as `describe_dataset`."""
    builder = open_builder(name, data_dir)
    name = builder.info.full_name.rpartition("/")[0]
    if isinstance(builder, EmbeddedBuilder):
        return embedded_source(builder, MAXIMUM_INTENSITIES.get(name, 255))
    image, label = image_feature(builder), label_feature(builder)
    prepare(builder)
    feature, splits = builder.info.features[image], builder.info.splits
    dtype = np.dtype(feature.np_dtype)
    largest = np.iinfo(dtype).max if dtype.kind in "ui" else 1.0
    must_cut = "train" in splits and "validation" not in splits
    names = {name: name for name in splits} | (SPLITS_OF_TRAIN if must_cut else {})
    description = DatasetDescription(
        name=builder.info.full_name,
        image_shape=tuple(feature.shape),
        image_dtype=dtype,
        maximum_intensity=MAXIMUM_INTENSITIES.get(name, largest),
        num_examples={name: splits[split].num_examples for name, split in names.items()},
        validation_is_of_train=must_cut,
        class_names=tuple(builder.info.features[label].names) if label else None,
    )
    return Source(
        description,
        splits,
        read=partial(_read_records, builder, image, label),
        remedy=f"delete {builder.data_path} so that the data set is prepared anew",
    )


def _read_records(
    builder: tfds.core.DatasetBuilder,
    image: str,
    label: str | None,
    split: str,
    *,
    with_record_ids: bool = False,
) -> tf.data.Dataset:
    needed = {image, label} - {None}
    # Only where there is more to leave out: TFDS warns of its own code when it decodes in part.
    has_more = set(builder.info.features) > needed
    records = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(dict.fromkeys(needed, True)) if has_more else None,
        read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=with_record_ids),
    )
    return records if image == "image" else records.map(lambda row: row | {"image": row[image]})


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


def resolve_split(source: Source, split: str) -> str:
    """Translates a split's name to TFDS's slicing, and checks that it is there and not empty."""
    description = source.description
    is_cut = description.validation_is_of_train
    resolved = SPLITS_OF_TRAIN.get(split, split) if is_cut else split
    try:
        num_examples = source.num_examples(resolved)
    except (KeyError, ValueError, AssertionError) as error:
        raise InputError(
            f"the data set {description.name!r} has no split {split!r}; it has "
            f"{', '.join(description.num_examples)}, and slices of TFDS's splits such as "
            "'train[:10%]' or 'train[100:200]'"
        ) from error
    if num_examples == 0:
        raise InputError(
            f"the split {split!r} of {description.name!r} is empty: ask for one with images"
        )
    return resolved
