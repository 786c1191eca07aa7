"""The path from a data set's name to batches of images."""

import math
import os
from functools import partial
from typing import get_args

import tensorflow as tf

from tfvae.common.checks import check_choice, check_integer, check_number, check_seed
from tfvae.common.errors import InputError
from tfvae.datasets.binarization import Binarization, Binarizer
from tfvae.datasets.catalog import open_source, resolve_split
from tfvae.datasets.epochs import Batch, gathered_batches, join_epochs, streamed_batches
from tfvae.datasets.records import SplitReader


def load_dataset(
    name: str = "digits",
    split: str = "train",
    *,
    batch_size: int = 128,
    binarization: Binarization = "dynamic",
    shuffle: bool | None = None,
    seed: int | None = None,
    initial_epoch: int = 0,
    with_labels: bool = False,
    drop_remainder: bool = False,
    data_dir: str | os.PathLike | None = None,
    maximum_intensity: float | None = None,
    memory_limit: int = 2**30,
) -> tf.data.Dataset:
    """Loads a TFDS data set as batches of images, which each iteration gives as a new epoch.

    The first use of a data set prepares it in the TFDS data directory by TFDS's download; `digits`,
    `digits/8x8` and `photo_patches` come out of scikit-learn and need no place.

    With a seed, iteration k is a function of the seed and k alone, in any process. `initial_epoch`
    starts the count elsewhere, so that training can go on at epoch k with the batches it would
    have had.

    Args:
        name: `digits`, or the name of a TFDS data set with one image per record: `mnist`,
            `binarized_mnist`, `fashion_mnist`, `kmnist`, `emnist/letters`, `omniglot`, ...
        split: `train`, `validation`, `test`, or TFDS's slicing of a split that TFDS has. Where TFDS
            gives no validation split, `validation` is the last 10 % of TFDS's train and `train` the
            first 90 %; `train[:100%]` is all of it.
        batch_size: The number of images per batch.
        binarization: `dynamic`: each pixel is sampled anew at each epoch, 1 with a probability of
            its intensity. `fixed`: sampled so once; an image's sample depends on the seed (0 where
            there is none) and its record alone. `threshold`: 1 where the intensity is above a half.
            `none`: the intensities.
        shuffle: Whether each epoch has an order of its own. By default the splits that start with
            `train` are shuffled.
        seed: What all randomness derives from. Without one it is drawn from TensorFlow's global
            generator, and so follows `keras.utils.set_random_seed`.
        initial_epoch: The number of the epoch that the first iteration gives.
        with_labels: Whether to give `(images, labels)`.
        drop_remainder: Whether to leave out a last, smaller batch.
        data_dir: The TFDS data directory; `None` for TFDS's own, which is `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.
        maximum_intensity: The stored value that means an intensity of 1. By default it is what is
            known of the data set: 1 for those that hold 0 and 1, else the greatest value of the
            stored type (255 for uint8, 1 for floats).
        memory_limit: The bytes of stored images up to which a data set is held in memory; a larger
            one is streamed through a shuffle buffer of a quarter of them.

    Returns:
        A `tf.data.Dataset` of float32 images `[batch, h, w, c]`: of 0 and 1, for
        `binarization="none"` in [0, 1]; with labels, of pairs with int64 labels `[batch]`.

    Raises:
        InputError: If an argument cannot be used, if the data set is unknown, damaged or not to be
            had, or if its images do not fit the known scale.

    Example:
        >>> images = load_dataset("digits", "train", batch_size=128, seed=0)
        >>> vae.fit(images, validation_data=load_dataset("digits", "validation"), epochs=10)
    """
    batch_size = check_integer("batch_size", batch_size, minimum=1)
    initial_epoch = check_integer("initial_epoch", initial_epoch, minimum=0)
    memory_limit = check_integer("memory_limit", memory_limit, minimum=0)
    check_choice("binarization", binarization, get_args(Binarization))
    if maximum_intensity is not None:
        maximum_intensity = check_number("maximum_intensity", maximum_intensity, above=0)
    seed = check_seed(seed)
    seed_of_fixed = seed or 0
    if seed is None:
        seed = int(tf.random.uniform([], maxval=2**62, dtype=tf.int64))

    source = open_source(name, data_dir)
    description = source.description
    if with_labels and description.class_names is None:
        raise InputError(f"the data set {description.name!r} has no labels: load it without them")
    tfds_split = resolve_split(source, split)
    num_examples = source.num_examples(tfds_split)
    num_batches = num_examples // batch_size if drop_remainder else -(-num_examples // batch_size)
    if num_batches == 0:
        raise InputError(
            f"the split {split!r} of {description.name!r} has {num_examples} images, less than one "
            f"batch of {batch_size}, and drop_remainder would leave nothing: take a smaller batch"
        )
    if shuffle is None:
        shuffle = split.startswith("train")

    scale = maximum_intensity or description.maximum_intensity
    binarizer = Binarizer(binarization, scale, seed_of_fixed)
    reader = SplitReader(source, tfds_split, with_labels, binarizer, maximum_intensity is not None)
    image_bytes = math.prod(description.image_shape) * description.image_dtype.itemsize
    if num_examples * image_bytes <= memory_limit:
        batches_of_epoch = partial(gathered_batches, reader.in_memory(), batch_size, shuffle)
    else:
        buffer_size = max(batch_size, memory_limit // 4 // image_bytes) if shuffle else 0
        batches_of_epoch = partial(streamed_batches, reader.streamed(), batch_size, buffer_size)

    length = batch_size if drop_remainder else None

    def finish(seed: tf.Tensor, images: tf.Tensor, labels: tf.Tensor | None = None) -> Batch:
        images = binarizer.at_each_epoch(images, seed)
        images = tf.ensure_shape(images, (length, *description.image_shape))
        return images if labels is None else (images, tf.ensure_shape(labels, (length,)))

    return join_epochs(
        batches_of_epoch, finish, num_batches=num_batches, seed=seed, initial_epoch=initial_epoch
    )
