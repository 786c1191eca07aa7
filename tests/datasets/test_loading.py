import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import SyntheticBuilder

from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset, load_dataset
from tfvae.datasets.binarization import sample_binary
from tfvae.datasets.digits import Digits, enlarge
from tfvae.datasets.preparation import open_builder, prepare

BINARIZATIONS = ("dynamic", "fixed", "threshold", "none")
STREAMED = {"memory_limit": 4000}  # a shuffle buffer of a thousand bytes, or of one batch


class SyntheticColour(SyntheticBuilder):
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(5, 7, 3))}

    def image(self, index):
        return np.full((5, 7, 3), [0, 51, 255], np.uint8)


class SyntheticZeroOne(SyntheticBuilder):
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(4, 4, 1))}

    def image(self, index):
        return np.eye(4, dtype=np.uint8)[..., None]


class SyntheticFloat(SyntheticBuilder):
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)}

    def image(self, index):
        return np.full((4, 4, 1), 0.25, np.float32)


class SyntheticFloatOfWideRange(SyntheticFloat):
    def image(self, index):
        return np.full((4, 4, 1), 2.5, np.float32)


class SyntheticVaryingSize(SyntheticBuilder):
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(None, None, 1))}


class SyntheticPair(SyntheticBuilder):
    FEATURES: ClassVar = {
        "left": tfds.features.Image(shape=(4, 4, 1)),
        "right": tfds.features.Image(shape=(4, 4, 1)),
    }


class SyntheticUnreachable(SyntheticBuilder):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")


@pytest.fixture(scope="module")
def synthetic_data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("synthetic")


def epochs(dataset, count=1):
    """The images of several epochs, each as one array."""
    return [np.concatenate([images.numpy() for images in dataset]) for _ in range(count)]


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# The embedded digits


def test_digits_are_what_scikit_learn_ships(digits_data_dir):
    from sklearn.datasets import load_digits

    source = load_digits()
    expected = {digest(enlarge(image)) for image in source.images}
    images = [
        image
        for split in ("train", "validation", "test")
        for image in epochs(
            load_dataset("digits", split, binarization="none", data_dir=digits_data_dir)
        )[0]
    ]
    found = {digest(np.round(image * 255).astype(np.uint8)) for image in images}
    assert len(images) == len(source.images) == 1797
    assert found == expected


def test_digits_splits_do_not_overlap_and_are_balanced(digits_data_dir):
    seen = set()
    sizes = {}
    for split in ("train", "validation", "test"):
        builder = open_builder("digits", digits_data_dir)
        records = list(tfds.as_numpy(builder.as_dataset(split=split)))
        here = {digest(record["image"]) for record in records}
        assert not here & seen
        seen |= here
        sizes[split] = len(records)
        counts = np.bincount([record["label"] for record in records], minlength=10)
        assert counts.max() - counts.min() <= 0.1 * counts.mean() + 1
    assert sizes == {"train": 1437, "validation": 180, "test": 180}


def test_enlarged_digit_keeps_its_shape_and_range():
    image = np.zeros((8, 8))
    image[2:6, 2:6] = 16
    large = enlarge(image)
    assert large.shape == (28, 28, 1)
    assert large.dtype == np.uint8
    assert large[14, 14] == 255
    assert not large[:4].any()
    np.testing.assert_allclose(large, large.transpose(1, 0, 2), atol=1)
    np.testing.assert_allclose(large, large[::-1], atol=1)
    assert 0 < large[8, 14] < 255  # smooth, not blocks


def test_digits_prepared_by_two_at_once(tmp_path, monkeypatch):
    prepare_alone = Digits.download_and_prepare
    raced = []

    def prepare_while_another_finishes(self):
        prepare_alone(self)
        if not raced:
            raced.append(True)
            prepare(open_builder("digits", tmp_path))

    monkeypatch.setattr(Digits, "download_and_prepare", prepare_while_another_finishes)
    description = describe_dataset("digits", tmp_path)
    assert raced
    assert description.num_examples["train"] == 1437
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_digits_in_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot be written .*--data-dir or TFDS_DATA_DIR"):
        load_dataset("digits", data_dir=tmp_path / "file")


def test_data_dir_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "named"))
    describe_dataset("digits")
    assert (tmp_path / "named" / "digits" / "1.0.0").is_dir()


def test_nothing_goes_to_stdout(tmp_path, capfd):
    load_dataset("digits", data_dir=tmp_path)
    load_dataset("synthetic_grey", data_dir=tmp_path)
    assert capfd.readouterr().out == ""


# Scales and binarisation


def test_describe_dataset(digits_data_dir, synthetic_data_dir):
    digits = describe_dataset("digits", digits_data_dir)
    assert digits.name == "digits/1.0.0"
    assert digits.image_shape == (28, 28, 1)
    assert digits.maximum_intensity == 255
    assert digits.num_examples == {"train": 1437, "validation": 180, "test": 180}
    assert digits.class_names == tuple("0123456789")
    grey = describe_dataset("synthetic_grey", synthetic_data_dir)
    assert grey.num_examples == {"train": 45, "validation": 5, "test": 20}
    assert len(grey.class_names) == 50
    colour = describe_dataset("synthetic_colour", synthetic_data_dir)
    assert colour.image_shape == (5, 7, 3)
    assert colour.class_names is None


def test_mnist_and_binarized_mnist_have_the_same_mean(shared_data_dir):
    # The mean grey value of MNIST's 60,000 training images is 33.3184 of 255: 0.130660.
    grey = load_dataset(
        "mnist", "train[:100%]", binarization="none", batch_size=1000, data_dir=shared_data_dir
    )
    mean_image = np.mean([images.numpy().mean(axis=0) for images in grey], axis=0)
    assert mean_image.mean() == pytest.approx(0.130660, abs=1e-5)
    # binarized_mnist is a sample of the first 50,000 and the last 10,000 of them.
    total, count = 0, 0
    for split, size in (("train", 50_000), ("validation", 10_000)):
        binary = load_dataset(
            "binarized_mnist", split, binarization="none", batch_size=1000, data_dir=shared_data_dir
        )
        for images in binary:
            assert set(np.unique(images)) <= {0, 1}
            total += images.numpy().sum(axis=0)
        count += size
    frequency = total / count
    # Given the grey values, a frequency's variance is at most p (1 - p) / n; its standard error
    # over all pixels is below 1e-4. Pixel by pixel 5.5 standard errors leave 3e-5 to chance.
    assert frequency.mean() == pytest.approx(mean_image.mean(), abs=1e-4)
    standard_error = np.sqrt(mean_image * (1 - mean_image) / count)
    assert np.all(np.abs(frequency - mean_image) <= 5.5 * standard_error + 1e-6)
    # Each binarisation leaves 0 and 1 as they are.
    for binarization in ("dynamic", "threshold", "fixed"):
        options = {"split": "test[:500]", "data_dir": shared_data_dir}
        expected = epochs(load_dataset("binarized_mnist", binarization="none", **options))[0]
        found = epochs(load_dataset("binarized_mnist", binarization=binarization, **options))[0]
        np.testing.assert_array_equal(found, expected)


def test_mnist_validation_is_the_end_of_train(shared_data_dir):
    options = {"binarization": "none", "shuffle": False, "data_dir": shared_data_dir}
    validation = epochs(load_dataset("mnist", "validation", **options))[0]
    end = epochs(load_dataset("mnist", "train[90%:]", **options))[0]
    np.testing.assert_array_equal(validation, end)
    assert describe_dataset("mnist", shared_data_dir).num_examples == {
        "train": 54_000,
        "validation": 6_000,
        "test": 10_000,
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_validation_is_cut_from_train_and_never_from_test(synthetic_data_dir, streamed):
    labels = {}
    for split in ("train", "validation", "train[:100%]"):
        batches = load_dataset(
            "synthetic_grey",
            split,
            batch_size=7,
            binarization="none",
            with_labels=True,
            data_dir=synthetic_data_dir,
            **(STREAMED if streamed else {}),
        )
        labels[split] = []
        for images, batch_labels in batches:
            np.testing.assert_allclose(
                images, np.broadcast_to(batch_labels[:, None, None, None] / 51, images.shape), 1e-6
            )
            labels[split] += batch_labels.numpy().tolist()
    assert len(labels["train"]) == 45
    assert len(labels["validation"]) == 5
    assert sorted(labels["train"] + labels["validation"]) == list(range(50))
    assert sorted(labels["train[:100%]"]) == list(range(50))


def test_dynamic_frequencies_are_the_intensities(synthetic_data_dir):
    batches = load_dataset(
        "synthetic_colour", batch_size=15, seed=3, data_dir=synthetic_data_dir, shuffle=False
    )
    images = np.stack(epochs(batches, 15))  # [15, 45, 5, 7, 3]
    frequency = images.mean(axis=(0, 1, 2, 3))
    assert frequency[0] == 0
    assert frequency[2] == 1
    standard_error = np.sqrt(0.2 * 0.8 / (15 * 45 * 35))
    assert abs(frequency[1] - 0.2) < 4 * standard_error
    # Independent from epoch to epoch, image to image and pixel to pixel: no sum varies too much.
    for axes in ((0,), (1,), (2, 3)):
        sums = images[..., 1].sum(axis=axes)
        trials = images[..., 1].size / sums.size
        variance = sums.var()
        # A variance of n values has a relative standard error of about sqrt(2 / n).
        assert abs(variance / (trials * 0.16) - 1) < 5 * np.sqrt(2 / sums.size)


def test_sampled_pixels_follow_each_of_the_256_intensities():
    intensities = tf.repeat(tf.range(256, dtype=tf.float32)[None, :] / 255, 40_000, axis=0)
    frequency = sample_binary(intensities, tf.constant([1, 2], tf.int64)).numpy().mean(axis=0)
    probability = np.arange(256) / 255
    standard_error = np.sqrt(probability * (1 - probability) / 40_000)
    assert frequency[0] == 0
    assert frequency[255] == 1
    assert np.all(np.abs(frequency - probability) <= 4.5 * standard_error)
    deviations = (frequency - probability)[1:255] / standard_error[1:255]
    assert abs(np.mean(deviations**2) - 1) < 4 * np.sqrt(2 / 254)


def test_threshold_is_above_a_half(synthetic_data_dir):
    batches = load_dataset(
        "synthetic_grey",
        "train[:100%]",
        binarization="threshold",
        with_labels=True,
        data_dir=synthetic_data_dir,
    )
    for images, labels in batches:
        expected = labels[:, None, None, None] * 5 > 127
        np.testing.assert_array_equal(images, np.broadcast_to(expected, images.shape))


@pytest.mark.parametrize("streamed", [False, True])
def test_fixed_is_fixed_by_seed_and_record_alone(digits_data_dir, streamed):
    def load(seed=5, **options):
        limit = {"memory_limit": 40_000} if streamed else {}
        return load_dataset(
            "digits", binarization="fixed", seed=seed, data_dir=digits_data_dir, **limit, **options
        )

    once, again = epochs(load(shuffle=False), 2)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, epochs(load(shuffle=False, batch_size=17))[0])
    shuffled = epochs(load())[0]
    assert not np.array_equal(once, shuffled)
    assert sorted(map(digest, once)) == sorted(map(digest, shuffled))
    middle = epochs(load(split="train[300:400]", shuffle=False))[0]
    np.testing.assert_array_equal(middle, once[300:400])
    assert not np.array_equal(once, epochs(load(seed=6, shuffle=False))[0])
    # Sampled, and with the right frequency.
    grey = epochs(
        load_dataset(binarization="none", shuffle=False, data_dir=digits_data_dir, batch_size=17)
    )[0]
    assert set(np.unique(once)) == {0, 1}
    standard_error = np.sqrt((grey * (1 - grey)).sum()) / grey.size
    assert abs(once.mean() - grey.mean()) < 4 * standard_error
    residuals = (once - grey).sum(axis=0) / np.sqrt((grey * (1 - grey)).sum(axis=0) + 1e-12)
    assert np.abs(residuals).max() < 5


def test_fixed_without_a_seed_is_one_data_set(digits_data_dir):
    arguments = {"split": "test", "binarization": "fixed", "data_dir": digits_data_dir}
    one, other = (epochs(load_dataset(**arguments))[0] for _ in "ab")
    np.testing.assert_array_equal(one, other)


def test_float_images_keep_their_scale(synthetic_data_dir):
    images = epochs(
        load_dataset("synthetic_float", binarization="none", data_dir=synthetic_data_dir)
    )[0]
    np.testing.assert_array_equal(images, np.full((45, 4, 4, 1), 0.25, np.float32))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_scale_that_does_not_fit_is_refused(synthetic_data_dir, streamed):
    options = {"data_dir": synthetic_data_dir, **({"memory_limit": 100} if streamed else {})}
    with pytest.raises(InputError, match=r"no value above 1.* pass maximum_intensity=1 "):
        load_dataset("synthetic_zero_one", **options)
    images = epochs(load_dataset("synthetic_zero_one", maximum_intensity=1, **options))[0]
    np.testing.assert_array_equal(images, np.broadcast_to(np.eye(4)[..., None], (45, 4, 4, 1)))
    with pytest.raises(InputError, match=r"within 0 and 1; they hold values from 2.5 to 2.5"):
        load_dataset("synthetic_float_of_wide_range", **options)
    with pytest.raises(InputError, match="within 0 and 100; they hold values from 0 to"):
        load_dataset("synthetic_grey", "train[:100%]", maximum_intensity=100, **options)


# Epochs and seeds


@pytest.mark.parametrize("binarization", BINARIZATIONS)
def test_streamed_equals_in_memory(digits_data_dir, binarization):
    options = {
        "split": "validation",
        "binarization": binarization,
        "batch_size": 50,
        "seed": 2,
        "with_labels": True,
        "data_dir": digits_data_dir,
    }
    in_memory = list(load_dataset("digits", **options))
    streamed = list(load_dataset("digits", memory_limit=1000, **options))
    assert [len(images) for images, _ in streamed] == [50, 50, 50, 30]
    for (images, labels), (streamed_images, streamed_labels) in zip(
        in_memory, streamed, strict=True
    ):
        np.testing.assert_array_equal(images, streamed_images)
        np.testing.assert_array_equal(labels, streamed_labels)


@pytest.mark.parametrize("memory_limit", [2**30, 200_000])
def test_epoch_is_a_function_of_seed_and_number(digits_data_dir, memory_limit):
    def load(**options):
        return load_dataset(
            "digits", data_dir=digits_data_dir, memory_limit=memory_limit, **options
        )

    keras.utils.set_random_seed(1)
    first = epochs(load(seed=7), 3)
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(first, epochs(load(seed=7), 3))
    np.testing.assert_array_equal(first[2], epochs(load(seed=7, initial_epoch=2))[0])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], epochs(load(seed=8))[0])


@pytest.mark.parametrize("memory_limit", [2**30, 200_000])
def test_epochs_differ_in_order_and_in_noise(digits_data_dir, memory_limit):
    options = {"data_dir": digits_data_dir, "memory_limit": memory_limit, "seed": 0}
    one, other = epochs(load_dataset(binarization="none", **options), 2)
    assert not np.array_equal(one, other)
    assert sorted(map(digest, one)) == sorted(map(digest, other))
    unshuffled, again = epochs(load_dataset(binarization="none", shuffle=False, **options), 2)
    np.testing.assert_array_equal(unshuffled, again)
    one, other = epochs(load_dataset(shuffle=False, **options), 2)
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
    keras.utils.set_random_seed(11)
    one = epochs(load_dataset(data_dir=digits_data_dir))[0]
    other = epochs(load_dataset(data_dir=digits_data_dir))[0]
    keras.utils.set_random_seed(11)
    np.testing.assert_array_equal(one, epochs(load_dataset(data_dir=digits_data_dir))[0])
    assert not np.array_equal(one, other)


def test_train_is_shuffled_and_the_others_are_not(digits_data_dir):
    for split, is_shuffled in (("train", True), ("validation", False), ("test", False)):
        options = {"split": split, "binarization": "none", "seed": 0, "data_dir": digits_data_dir}
        default = epochs(load_dataset(**options))[0]
        ordered = epochs(load_dataset(shuffle=False, **options))[0]
        assert np.array_equal(default, ordered) != is_shuffled


@settings(max_examples=8, deadline=None)
@given(batch_size=st.integers(1, 60), drop_remainder=st.booleans(), streamed=st.booleans())
def test_batches_have_the_shapes_they_announce(
    synthetic_data_dir, batch_size, drop_remainder, streamed
):
    size = 45
    drop_remainder = drop_remainder and batch_size <= size
    batches = load_dataset(
        "synthetic_colour",
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        data_dir=synthetic_data_dir,
        **(STREAMED if streamed else {}),
    )
    announced = batches.element_spec
    assert announced.dtype == tf.float32
    assert announced.shape[0] == (batch_size if drop_remainder else None)
    shapes = [images.shape for images in batches]
    assert all(announced.shape.is_compatible_with(shape) for shape in shapes)
    assert len(shapes) == batches.cardinality()
    assert sum(shape[0] for shape in shapes) == size - (size % batch_size) * drop_remainder


def test_fit_takes_the_next_epoch_each_time(digits_data_dir):
    options = {"seed": 4, "batch_size": 512, "data_dir": digits_data_dir}
    expected = [images.mean() for images in epochs(load_dataset(**options), 5)]

    class MeanIntensity(keras.Model):
        def __init__(self):
            super().__init__()
            self.mean_intensity = keras.metrics.Mean()
            self.build((None, 28, 28, 1))

        def call(self, images):
            return images

        def train_step(self, data):
            self.mean_intensity.update_state(data)
            return {"mean_intensity": self.mean_intensity.result()}

    model = MeanIntensity()
    model.compile()
    batches = load_dataset(**options)
    found = model.fit(batches, epochs=3, verbose=0).history["mean_intensity"]
    np.testing.assert_allclose(found, expected[:3], rtol=1e-5)
    found = model.fit(batches, epochs=2, verbose=0).history["mean_intensity"]
    np.testing.assert_allclose(found, expected[3:], rtol=1e-5)


DISTRIBUTED = """
import hashlib, json, sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfvae.datasets import load_dataset

def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
answer = {}
for name, memory_limit in (("in_memory", 2**30), ("streamed", 200_000)):
    with strategy.scope():
        batches = load_dataset("digits", seed=9, data_dir=sys.argv[1], memory_limit=memory_limit)
    seen = []
    for per_replica in strategy.experimental_distribute_dataset(batches):
        parts = [part.numpy() for part in strategy.experimental_local_results(per_replica)]
        assert abs(len(parts[0]) - len(parts[1])) <= 1, [len(part) for part in parts]
        seen += parts
    answer[name] = digest(np.concatenate(seen))
print(json.dumps(answer))
"""


def test_another_process_under_a_mirrored_strategy_sees_the_same_images(digits_data_dir):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONHASHSEED": "123",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    run = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED, str(digits_data_dir)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    options = {"seed": 9, "data_dir": digits_data_dir}
    assert found == {
        "in_memory": digest(epochs(load_dataset(**options))[0]),
        "streamed": digest(epochs(load_dataset(memory_limit=200_000, **options))[0]),
    }


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnsit"}, r"no data set is named 'mnsit': did you mean mnist.*List the names"),
        ({"name": "huggingface:mnist"}, "data set names look like .*got 'huggingface:mnist'"),
        ({"name": ""}, "data set names look like"),
        ({"name": "emnist/lettres"}, "no such configuration; it has .*letters"),
        ({"name": "coco"}, "vary in size"),
        ({"name": "imdb_reviews"}, "exactly one image a record; .* has none"),
        ({"split": "tset"}, "no split 'tset'; it has train, validation, test"),
        ({"split": "train[:x]"}, "no split"),
        ({"split": ""}, "no split"),
        ({"split": "test[:0]"}, "is empty"),
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number; got 2.5"),
        ({"initial_epoch": -1}, "initial_epoch must be 0 or more"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"binarization": "static"}, "one of dynamic, fixed, threshold, none; got 'static'"),
        ({"maximum_intensity": 0}, "maximum_intensity must be above 0"),
        ({"batch_size": 2000, "drop_remainder": True}, "1437 images, less than one batch of 2000"),
    ],
)
def test_bad_arguments(digits_data_dir, arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset(**arguments, data_dir=digits_data_dir)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic_varying_size", "vary in size"),
        ("synthetic_pair", "has these: left, right"),
        ("synthetic_unreachable", "no route to host.*--data-dir or TFDS_DATA_DIR"),
    ],
)
def test_data_sets_that_cannot_be_used(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load_dataset(name, data_dir=tmp_path)
    assert not list(tmp_path.glob("*/*/*.tfrecord*"))


def test_nothing_is_tuned(digits_data_dir):
    options = load_dataset("digits", data_dir=digits_data_dir).options()
    assert options.autotune.enabled is False


def test_labels_where_there_are_none(synthetic_data_dir):
    with pytest.raises(InputError, match="has no labels"):
        load_dataset("synthetic_colour", with_labels=True, data_dir=synthetic_data_dir)


def test_no_network(tmp_path, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.URLError("name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        InputError, match=r"service not known.* tfds.load\('emnist/letters'\).* fetches it"
    ):
        load_dataset("emnist/letters", data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_records(tmp_path):
    load_dataset("synthetic_grey", data_dir=tmp_path)
    (records,) = (tmp_path / "synthetic_grey" / "1.0.0").glob("*train*")
    records.write_bytes(records.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot be read .*delete .* prepared anew"):
        load_dataset("synthetic_grey", "train[:100%]", data_dir=tmp_path)
