"""Iterators that end at once, for the many that Keras makes of a data set."""

from collections.abc import Iterator

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns off the tuning of a data set's iterators, where it would lose nothing by that.

    `tf.data` tunes each iterator in a thread that sleeps ever longer, up to a minute. At times it
    misses that its iterator is to go, and who lets go of it waits until it wakes. Keras lets go of
    one at the end of every epoch and of every validation.

    With the tuning go two things that TensorFlow does only together with it: it prefetches batches,
    which is done here instead, and runs a `map` on several threads that does not ask for them. A
    data set with such a `map` is left alone, and so is one whose options decide by themselves.

    Args:
        dataset: Of batches.

    Returns:
        A data set of the same batches, or the same data set.
    """
    options = dataset.options()
    names = [type(stage).__name__ for stage in _stages(dataset)]
    rewrites = options.experimental_optimization
    makes_maps_parallel = False not in (
        rewrites.apply_default_optimizations,
        rewrites.map_parallelization,
    )
    if options.autotune.enabled is not None or (makes_maps_parallel and "_MapDataset" in names):
        return dataset
    if next(name for name in names if name != "_OptionsDataset") != "_PrefetchDataset":
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    off = tf.data.Options()
    off.autotune.enabled = False
    return dataset.with_options(off)


def _stages(dataset: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    """The data set and all that it is made from, the last stage first."""
    yield dataset
    for earlier in dataset._inputs():
        yield from _stages(earlier)
