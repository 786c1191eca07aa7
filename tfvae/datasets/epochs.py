"""Images to batches, epoch by epoch, each epoch a function of the seed and its number alone."""

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import tensorflow as tf

Batch: TypeAlias = tf.Tensor | tuple[tf.Tensor, tf.Tensor]  # images, with their labels or without


def gathered_batches(
    arrays: tuple[tf.Tensor, ...], batch_size: int, shuffle: bool, seed: tf.Tensor
) -> tf.data.Dataset:
    """Cuts an epoch into batches by gathering them from arrays `[n, ...]` in memory."""
    order = tf.range(len(arrays[0]))
    if shuffle:
        order = tf.random.experimental.stateless_shuffle(order, seed=seed)

    def gather(start: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = order[start : start + batch_size]
        return tuple(tf.gather(array, rows) for array in arrays)

    return tf.data.Dataset.range(0, len(arrays[0]), batch_size).map(gather)


def streamed_batches(
    records: tf.data.Dataset, batch_size: int, buffer_size: int, seed: tf.Tensor
) -> tf.data.Dataset:
    """Cuts an epoch into batches while it is read, each record out of the next `buffer_size`."""
    if buffer_size:
        # Sets the seed of the graph being traced, where the caller's global seed would enter.
        tf.random.set_seed(1)
        records = records.shuffle(buffer_size, seed=seed[0], reshuffle_each_iteration=False)
    return records.batch(batch_size)


def join_epochs(
    batches_of_epoch: Callable[[tf.Tensor], tf.data.Dataset],
    finish: Callable[..., Batch],
    *,
    num_batches: int,
    seed: int,
    initial_epoch: int,
) -> tf.data.Dataset:
    """Joins epochs to a data set of which each new iteration is the next epoch.

    `batches_of_epoch` makes an epoch's tuples of tensors `[batch, ...]` from a seed, int64 `[2]`,
    and `finish` what the data set gives from another one and such tensors.
    """
    numbers = itertools.count(initial_epoch)

    def next_number() -> np.int64:
        return np.int64(next(numbers))

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
        order_seed, noise_seed = tf.unstack(tf.random.split(epoch_seed, num=2))

        def finish_batch(step: tf.Tensor, tensors: tuple[tf.Tensor, ...]) -> Batch:
            return finish(tf.random.fold_in(noise_seed, step), *tensors)

        return batches_of_epoch(order_seed).take(num_batches).enumerate().map(finish_batch)

    options = tf.data.Options()
    # Workers must share out the batches of one order: the files are not what they could share.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # Tuning gains nothing here, and an iterator that ends waits for its thread, up to a minute.
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
