"""The path from a data set's name to batches of images."""

import math
import operator
import os

import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.datasets.binarization import (
    BINARIZATIONS,
    Binarization,
    sample_binary,
    sample_binary_once,
    threshold_binary,
)
from tfvae.datasets.catalog import (
    describe,
    prepared_builder,
    resolve_split,
)
from tfvae.datasets.pipeline import gathered_batches, repeatable_epochs, streamed_batches
from tfvae.datasets.records import Conversion, SplitReader

BUFFER_FRACTION = 1 / 4  # of the memory limit, for the shuffle buffer of a streamed data set


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

    The first use of a data set prepares it in the TFDS data directory: `digits` out of
    scikit-learn, the others by TFDS's download.

    With a seed, iteration k is a function of the seed and k alone, in any process. `initial_epoch`
    starts the count elsewhere, so that training can go on at epoch k with the batches it would
    have had.

    Args:
        name: `digits`, or the name of a TFDS data set with one image a record: `mnist`,
            `binarized_mnist`, `fashion_mnist`, `kmnist`, `emnist/letters`, `omniglot`, ...
        split: `train`, `validation`, `test`, or TFDS's slicing of a split that TFDS has. Where TFDS
            gives no validation split, `validation` is the last 10 % of TFDS's train and `train` the
            first 90 %; `train[:100%]` is all of it.
        batch_size: The number of images a batch.
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

    References:
        R. Salakhutdinov, I. Murray. On the Quantitative Analysis of Deep Belief Networks. ICML
        2008 (binarisation of MNIST).
    """
    batch_size = _whole_number("batch_size", batch_size, minimum=1)
    initial_epoch = _whole_number("initial_epoch", initial_epoch, minimum=0)
    memory_limit = _whole_number("memory_limit", memory_limit, minimum=0)
    if binarization not in BINARIZATIONS:
        raise InputError(
            f"binarization must be one of {', '.join(BINARIZATIONS)}; got {binarization!r}"
        )
    if maximum_intensity is not None and not 0 < maximum_intensity < math.inf:
        raise InputError(f"maximum_intensity must be above 0; got {maximum_intensity}")
    if seed is not None:
        seed = _whole_number("seed", seed, minimum=-(2**63), maximum=2**63 - 1)
    record_seed = seed or 0
    if seed is None:
        seed = int(tf.random.uniform([], maxval=2**62, dtype=tf.int64))

    builder = prepared_builder(name, data_dir)
    description = describe(builder)
    if with_labels and description.class_names is None:
        raise InputError(f"the data set {description.name!r} has no labels: load it without them")
    tfds_split = resolve_split(builder, split)
    num_examples = builder.info.splits[tfds_split].num_examples
    if drop_remainder and num_examples < batch_size:
        raise InputError(
            f"the split {split!r} of {description.name!r} has {num_examples} images, less than one "
            f"batch of {batch_size}, and drop_remainder would leave nothing: take a smaller batch"
        )
    if shuffle is None:
        shuffle = split.startswith("train")

    scale = maximum_intensity or description.maximum_intensity
    reader = SplitReader(
        builder=builder,
        split=tfds_split,
        with_labels=with_labels,
        maximum_intensity=scale,
        scale_is_given=maximum_intensity is not None,
        with_record_ids=binarization == "fixed",
        convert=_conversion(binarization, scale, record_seed),
    )
    image_bytes = math.prod(description.image_shape) * description.image_dtype.itemsize
    batching = {"batch_size": batch_size, "shuffle": shuffle, "drop_remainder": drop_remainder}
    if num_examples * image_bytes <= memory_limit:
        epoch_batches = gathered_batches(reader.in_memory(), **batching)
    else:
        buffer_size = max(batch_size, int(memory_limit * BUFFER_FRACTION) // image_bytes)
        epoch_batches = streamed_batches(reader.streamed(), buffer_size=buffer_size, **batching)

    batch_shape = (batch_size if drop_remainder else None, *description.image_shape)

    def finish(noise_seed: tf.Tensor, images: tf.Tensor, *labels: tf.Tensor):
        images = tf.ensure_shape(tf.cast(images, tf.float32), batch_shape)
        if binarization in ("dynamic", "none"):
            images /= scale
        if binarization == "dynamic":
            images = sample_binary(images, noise_seed)
        return (images, *labels) if labels else images

    num_batches = num_examples // batch_size if drop_remainder else -(-num_examples // batch_size)
    return repeatable_epochs(
        epoch_batches, finish, num_batches=num_batches, seed=seed, initial_epoch=initial_epoch
    )


def _conversion(binarization: str, scale: float, seed: int) -> Conversion:
    """What is done to images once, when they are read."""
    if binarization == "threshold":
        return lambda images, record_ids: threshold_binary(images, scale)
    if binarization == "fixed":

        def sample_once(images: tf.Tensor, record_ids: tf.Tensor) -> tf.Tensor:
            binary = tf.numpy_function(
                lambda images, record_ids: sample_binary_once(images, scale, record_ids, seed),
                [images, record_ids],
                tf.uint8,
            )
            return tf.ensure_shape(binary, images.shape)

        return sample_once
    return lambda images, record_ids: images


def _whole_number(name: str, value: int, *, minimum: int, maximum: int = 2**63 - 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number; got {value!r}") from None
    if not minimum <= number <= maximum:
        bounds = f"{minimum} or more" if maximum == 2**63 - 1 else f"{minimum} to {maximum}"
        raise InputError(f"{name} must be {bounds}; got {number}")
    return number
