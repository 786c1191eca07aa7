from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from synthetic_datasets import SyntheticBuilder, SyntheticColor, SyntheticGray

from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset, load_dataset


class SyntheticVaryingSize(SyntheticBuilder):
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(None, None, 1))}


class SyntheticPair(SyntheticBuilder):
    FEATURES: ClassVar = {
        "left": tfds.features.Image(shape=(4, 4, 1)),
        "right": tfds.features.Image(shape=(4, 4, 1)),
    }


def test_descriptions(digits_data_dir, synthetic_data_dir):
    digits = describe_dataset("digits", digits_data_dir)
    assert digits.name == "digits/28x28/1.0.0"
    assert digits.image_shape == (28, 28, 1)
    assert digits.image_dtype == np.uint8
    assert digits.maximum_intensity == 255
    assert digits.num_examples == {"train": 1437, "validation": 180, "test": 180}
    assert not digits.validation_is_of_train
    assert digits.class_names == tuple("0123456789")
    gray = describe_dataset(SyntheticGray.name, synthetic_data_dir)
    assert gray.num_examples == {"train": 45, "validation": 5, "test": 20}
    assert gray.validation_is_of_train
    assert len(gray.class_names) == 50
    color = describe_dataset(SyntheticColor.name, synthetic_data_dir)
    assert color.image_shape == (5, 7, 3)
    assert color.class_names is None


def test_splits_of_mnist(shared_data_dir):
    mnist = describe_dataset("mnist", shared_data_dir)
    assert mnist.num_examples == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert describe_dataset("binarized_mnist", shared_data_dir).maximum_intensity == 1


def test_validation_is_cut_from_train_and_never_from_test(synthetic_data_dir):
    labels = {}
    for split in ("train", "validation", "train[:100%]"):
        batches = load_dataset(
            SyntheticGray.name,
            split,
            batch_size=7,
            binarization="none",
            with_labels=True,
            data_dir=synthetic_data_dir,
        )
        labels[split] = []
        for images, batch_labels in batches.as_numpy_iterator():
            expected = np.broadcast_to(batch_labels[:, None, None, None] / 51, images.shape)
            np.testing.assert_allclose(images, expected, 1e-6)
            labels[split] += batch_labels.tolist()
    assert len(labels["train"]) == 45
    assert len(labels["validation"]) == 5
    assert sorted(labels["train"] + labels["validation"]) == list(range(50))
    assert sorted(labels["train[:100%]"]) == list(range(50))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coco", "vary in size"),
        ("imdb_reviews", "exactly one image per record; .* has none"),
        ("synthetic_varying_size", "vary in size"),
        ("synthetic_pair", "has these: left, right"),
    ],
)
def test_records_without_one_image_of_fixed_size(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        describe_dataset(name, tmp_path)
    assert not list(tmp_path.glob("*/*/*.tfrecord*"))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tset", "no split 'tset'; it has train, validation, test"),
        ("train[:x]", "no split"),
        ("", "no split"),
        ("test[:0]", "is empty: ask for one with images"),
        ("test[5:2]", "is empty: ask for one with images"),
        ("train+test[5:2]", "is empty: ask for one with images"),
        ("test[200:300]", "no split 'test.200:300.'; it has train, validation, test"),
    ],
)
def test_splits_that_are_not_there(digits_data_dir, split, message):
    with pytest.raises(InputError, match=message):
        load_dataset("digits", split, data_dir=digits_data_dir)
