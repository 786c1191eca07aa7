import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from synthetic_datasets import digest, epochs

from tfvae.datasets import load_dataset

# Too few for 180 images, which are streamed through a shuffle buffer of one batch.
STREAMED = {"memory_limit": 100_000}


@pytest.fixture
def options(digits_data_dir):
    """The validation images of the digits, shuffled and held in memory."""
    return {
        "split": "validation",
        "shuffle": True,
        "batch_size": 50,
        "seed": 7,
        "data_dir": digits_data_dir,
    }


@pytest.fixture(params=[{}, STREAMED], ids=["in memory", "streamed"])
def both_options(request, options):
    """The same, held in memory or streamed."""
    return options | request.param


@pytest.mark.parametrize("binarization", ["dynamic", "fixed", "threshold"])
def test_streamed_equals_in_memory(options, binarization):
    options |= {"binarization": binarization, "with_labels": True, "shuffle": False}
    in_memory = list(load_dataset(**options))
    streamed = list(load_dataset(**options, memory_limit=1000))
    assert [len(images) for images, _ in streamed] == [50, 50, 50, 30]
    for (images, labels), (streamed_images, streamed_labels) in zip(
        in_memory, streamed, strict=True
    ):
        np.testing.assert_array_equal(images, streamed_images)
        np.testing.assert_array_equal(labels, streamed_labels)


def test_epoch_is_a_function_of_seed_and_number(both_options):
    keras.utils.set_random_seed(1)
    first = epochs(load_dataset(**both_options), 3)
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(
        first[1:], epochs(load_dataset(initial_epoch=1, **both_options), 2)
    )
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], epochs(load_dataset(**both_options | {"seed": 8}))[0])


def test_epochs_differ_in_order_and_in_noise(both_options):
    one, other = epochs(load_dataset(binarization="none", **both_options), 2)
    assert not np.array_equal(one, other)
    assert sorted(map(digest, one)) == sorted(map(digest, other))
    in_order = both_options | {"shuffle": False}
    unshuffled, again = epochs(load_dataset(binarization="none", **in_order), 2)
    np.testing.assert_array_equal(unshuffled, again)
    one, other = epochs(load_dataset(**in_order), 2)
    # Two samples of a pixel differ with probability 2 p (1 - p).
    expected = 2 * unshuffled * (1 - unshuffled)
    standard_error = np.sqrt((expected * (1 - expected)).sum())
    assert abs((one != other).sum() - expected.sum()) < 4 * standard_error


def test_shuffling_reaches_the_whole_data_set(digits_data_dir):
    batches = load_dataset(
        "digits", with_labels=True, batch_size=1437, seed=0, data_dir=digits_data_dir
    )
    labels = next(iter(batches))[1].numpy()
    # The share of a class among the first half has a standard error of at most 0.5 / sqrt(143).
    halves = [np.bincount(half, minlength=10) for half in np.array_split(labels, 2)]
    shares = halves[0] / (halves[0] + halves[1])
    assert np.all(np.abs(shares - 0.5) < 4 * 0.5 / np.sqrt(143))


def test_without_a_seed_the_global_one_counts(digits_data_dir):
    def images():
        return epochs(load_dataset(split="validation", data_dir=digits_data_dir))[0]

    keras.utils.set_random_seed(11)
    one, other = images(), images()
    keras.utils.set_random_seed(11)
    np.testing.assert_array_equal(one, images())
    assert not np.array_equal(one, other)


def test_fit_takes_the_next_epoch_each_time(options):
    expected = [images.mean() for images in epochs(load_dataset(**options), 5)]

    class MeanIntensity(keras.Model):
        def __init__(self):
            super().__init__()
            self.mean_intensity = keras.metrics.Mean()
            self.build((None, 28, 28, 1))

        def call(self, images):
            return images

        def train_step(self, images):
            self.mean_intensity.update_state(tf.reduce_mean(images, axis=(1, 2, 3)))
            return {"mean_intensity": self.mean_intensity.result()}

    model = MeanIntensity()
    model.compile(run_eagerly=True)
    batches = load_dataset(**options)
    found = model.fit(batches, epochs=3, verbose=0).history["mean_intensity"]
    np.testing.assert_allclose(found, expected[:3], rtol=1e-5)
    found = model.fit(batches, epochs=2, verbose=0).history["mean_intensity"]
    np.testing.assert_allclose(found, expected[3:], rtol=1e-5)


def test_nothing_is_tuned(options):
    assert load_dataset(**options).options().autotune.enabled is False


def test_replicas_share_out_the_same_images(both_options, logical_cpus):
    strategy = tf.distribute.MirroredStrategy(logical_cpus[:2])
    with strategy.scope():
        batches = load_dataset(**both_options)
    seen = []
    for per_replica in strategy.experimental_distribute_dataset(batches):
        parts = [part.numpy() for part in strategy.experimental_local_results(per_replica)]
        assert abs(len(parts[0]) - len(parts[1])) <= 1, [len(part) for part in parts]
        seen += parts
    np.testing.assert_array_equal(np.concatenate(seen), epochs(load_dataset(**both_options))[0])


IN_ANOTHER_PROCESS = """
import json, sys
from synthetic_datasets import digest, epochs
from tfvae.datasets import load_dataset

options, limits = map(json.loads, sys.argv[1:])
images = [epochs(load_dataset(memory_limit=limit, **options))[0] for limit in limits]
print(json.dumps([digest(array) for array in images]))
"""


@pytest.mark.slow
def test_another_process_sees_the_same_images(digits_data_dir):
    options = {"split": "validation", "shuffle": True, "seed": 9, "data_dir": str(digits_data_dir)}
    limits = [2**30, STREAMED["memory_limit"]]
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]),
        "PYTHONHASHSEED": "123",
    }
    run = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, json.dumps(options), json.dumps(limits)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    expected = [digest(epochs(load_dataset(memory_limit=limit, **options))[0]) for limit in limits]
    assert json.loads(run.stdout.splitlines()[-1]) == expected
