import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.fitting.input_pipeline import without_autotuning

IMAGES = np.zeros((24, 6, 5, 1), np.float32)


def batches(size=8):
    return tf.data.Dataset.from_tensor_slices(IMAGES).batch(size)


def with_tuning(dataset, is_on):
    options = tf.data.Options()
    options.autotune.enabled = is_on
    return dataset.with_options(options)


def negative(images):
    return -images


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (batches(), False),
        (batches().prefetch(2), False),
        (batches().map(negative, num_parallel_calls=2), False),
        (batches().map(negative), None),
        (batches().map(negative).prefetch(2), None),
        (with_tuning(batches(), True), True),
        (with_tuning(batches(), False), False),
    ],
    ids=["plain", "prefetched", "parallel map", "map", "map, prefetched", "on", "off"],
)
def test_tuning_is_turned_off_where_nothing_is_lost(dataset, expected):
    result = without_autotuning(dataset)
    assert result.options().autotune.enabled is expected
    assert result.element_spec == dataset.element_spec
    assert result.cardinality() == dataset.cardinality()
    for batch, other in zip(result, dataset, strict=True):
        np.testing.assert_array_equal(batch, other)


def test_a_map_that_stays_on_one_thread_anyway_is_no_reason_to_tune():
    options = tf.data.Options()
    options.experimental_optimization.map_parallelization = False
    dataset = batches().map(negative).with_options(options)
    assert without_autotuning(dataset).options().autotune.enabled is False


@pytest.mark.parametrize("given", [batches(), batches().prefetch(2)], ids=["bare", "prefetched"])
def test_batches_are_prefetched_once(given):
    names, stage = [], without_autotuning(given)
    while stage._inputs():
        names.append(type(stage).__name__)
        (stage,) = stage._inputs()
    assert names.count("_PrefetchDataset") == 1


@pytest.mark.parametrize("images", [batches(), IMAGES], ids=["set", "array"])
def test_keras_iterates_without_autotuning(images, monkeypatch):
    vae = tfvae.VAE((6, 5, 1), latent_dim=2)
    vae.compile()
    made = []
    make = tf.data.Dataset.__iter__

    def recorded(dataset):
        made.append(dataset.options().autotune.enabled)
        return make(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", recorded)
    for use in (vae.fit, vae.evaluate):
        made.clear()
        use(images, verbose=0)
        assert made.count(False) == len(made) > 0
