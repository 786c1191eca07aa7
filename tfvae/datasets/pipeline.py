"""Images to batches, epoch by epoch, each epoch a function of the seed and its number alone."""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

EpochBatches = Callable[[tf.Tensor], tf.data.Dataset]


def gathered_batches(
    arrays: tuple[tf.Tensor, ...], *, batch_size: int, shuffle: bool, drop_remainder: bool
) -> EpochBatches:
    """Cuts epochs into batches by gathering them from arrays in memory.

    Args:
        arrays: Tensors `[n, ...]`.
        batch_size: The number of rows a batch.
        shuffle: Whether each epoch has an order of its own.
        drop_remainder: Whether a last, smaller batch is left out.

    Returns:
        A function from an epoch's seed, int64 `[2]`, to the `tf.data.Dataset` of its batches,
        tuples of tensors `[batch, ...]`.
    """
    num_rows = int(arrays[0].shape[0])

    def epoch(seed: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(num_rows)
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(order, seed=seed)
        end = num_rows - num_rows % batch_size if drop_remainder else num_rows

        def gather(start: tf.Tensor) -> tuple[tf.Tensor, ...]:
            rows = order[start : start + batch_size]
            return tuple(tf.gather(array, rows) for array in arrays)

        return tf.data.Dataset.range(0, end, batch_size).map(gather)

    return epoch


def streamed_batches(
    records: tf.data.Dataset,
    *,
    buffer_size: int,
    batch_size: int,
    shuffle: bool,
    drop_remainder: bool,
) -> EpochBatches:
    """Cuts epochs into batches while records are read, for data that does not fit in memory.

    Args:
        records: A `tf.data.Dataset` of tuples of tensors, one record each.
        buffer_size: The number of records in memory from which the next is drawn.
        batch_size: As in `gathered_batches`, like the rest.
        shuffle: Whether each epoch has an order of its own.
        drop_remainder: Whether a last, smaller batch is left out.

    Returns:
        As `gathered_batches`.
    """

    def epoch(seed: tf.Tensor) -> tf.data.Dataset:
        shuffled = records
        if shuffle:
            # Sets the seed of the graph being traced, where the caller's global seed would enter.
            tf.random.set_seed(1)
            shuffled = records.shuffle(buffer_size, seed=seed[0], reshuffle_each_iteration=False)
        return shuffled.batch(batch_size, drop_remainder=drop_remainder)

    return epoch


def repeatable_epochs(
    epoch_batches: EpochBatches,
    finish: Callable[..., tuple[tf.Tensor, ...] | tf.Tensor],
    *,
    num_batches: int,
    seed: int,
    initial_epoch: int,
) -> tf.data.Dataset:
    """Joins epochs to a data set of which each new iteration is the next epoch.

    Args:
        epoch_batches: As from `gathered_batches`.
        finish: A function of a seed, int64 `[2]`, and a batch's tensors to what the data set gives.
        num_batches: The number of batches an epoch.
        seed: What all randomness derives from, together with the epoch's number.
        initial_epoch: The number of the first iteration's epoch.

    Returns:
        A `tf.data.Dataset`, finite and of known cardinality.
    """
    numbers = itertools.count(initial_epoch)

    def next_number() -> np.int64:
        return np.int64(next(numbers))

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
        order_seed, noise_seed = tf.unstack(tf.random.split(epoch_seed, num=2))

        def finish_batch(step: tf.Tensor, tensors: tuple[tf.Tensor, ...]):
            return finish(tf.random.fold_in(noise_seed, step), *tensors)

        steps = tf.data.Dataset.counter()
        return tf.data.Dataset.zip(steps, epoch_batches(order_seed)).map(finish_batch)

    options = tf.data.Options()
    # Workers must share out the batches of one order: the files are not what they could share.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # It gains nothing here, and costs what `iterators.untuned` says, under every strategy.
    options.autotune.enabled = False
    return (
        tf.data.Dataset.from_tensors(0)
        # Counted in Python: a variable would be mirrored under a distribution strategy, and
        # tf.data's own seeds mix with the global one.
        .map(lambda _: tf.ensure_shape(tf.numpy_function(next_number, [], tf.int64), []))
        .flat_map(epoch)
        .apply(tf.data.experimental.assert_cardinality(num_batches))
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )
