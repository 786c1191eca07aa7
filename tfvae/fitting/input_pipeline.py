"""How Keras reads a data set: without passing its batches on, and without waiting for threads."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf


class WholeBatches:
    """A strategy of one replica that hands data sets on as they are.

    TensorFlow's own passes batches from thread to thread even where one replica gets all of
    them, which costs a small step a tenth of its time and more.

    Args:
        strategy: Whatever else it is asked for, this strategy answers.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def experimental_distribute_dataset(
        self, dataset: tf.data.Dataset, options: Any = None
    ) -> tf.data.Dataset:
        """The data set itself, without the tuning of its iterators."""
        return without_autotuning(dataset)


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns off the tuning of a data set's iterators, where nothing is lost by that.

    `tf.data` tunes each iterator in a thread that sleeps ever longer, up to a minute. At times
    the thread misses that its iterator is to go, and whoever lets go of the iterator waits until
    the thread wakes. Keras lets go of one at the end of every epoch and of every validation.

    Without tuning, TensorFlow does not prefetch batches by itself, which is done here instead,
    and runs a `map` that does not ask for several threads on one. A data set with such a `map` is
    left alone, and so is one whose options decide about tuning.
    """
    options = dataset.options()
    stages = [type(stage).__name__ for stage in _stages(dataset)]
    rewrites = options.experimental_optimization
    makes_maps_parallel = False not in (
        rewrites.apply_default_optimizations,
        rewrites.map_parallelization,
    )
    if options.autotune.enabled is not None or (makes_maps_parallel and "_MapDataset" in stages):
        return dataset
    if next(stage for stage in stages if stage != "_OptionsDataset") != "_PrefetchDataset":
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    off = tf.data.Options()
    off.autotune.enabled = False
    return dataset.with_options(off)


def _stages(dataset: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    """The data set and all that it is made from, the last stage first."""
    yield dataset
    # A private name of TensorFlow, which has no public one for what a data set is made from;
    # tests/fitting/test_fit_arguments.py looks for the stages of known data sets.
    for earlier in dataset._inputs():
        yield from _stages(earlier)
