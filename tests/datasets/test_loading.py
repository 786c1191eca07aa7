import numpy as np
import pytest
import tensorflow as tf
from synthetic_datasets import SyntheticColor, SyntheticGray, epochs

from tfvae.common.errors import InputError
from tfvae.datasets import load_dataset


def test_train_is_shuffled_and_the_others_are_not(digits_data_dir):
    for split, is_shuffled in (("train[:99]", True), ("validation", False), ("test", False)):
        batches = load_dataset(split=split, binarization="none", data_dir=digits_data_dir)
        one, other = epochs(batches, 2)
        assert np.array_equal(one, other) != is_shuffled


@pytest.mark.parametrize(
    ("batch_size", "drop_remainder", "memory_limit"),
    [(7, False, 2**30), (7, True, 100), (45, True, 2**30), (60, False, 100)],
)
def test_batches_have_the_shapes_they_announce(
    synthetic_data_dir, batch_size, drop_remainder, memory_limit
):
    size = 45
    batches = load_dataset(
        SyntheticGray.name,
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        with_labels=True,
        data_dir=synthetic_data_dir,
        memory_limit=memory_limit,
    )
    announced_images, announced_labels = batches.element_spec
    assert announced_images.dtype == tf.float32
    assert announced_labels.dtype == tf.int64
    assert announced_images.shape == [batch_size if drop_remainder else None, 4, 3, 1]
    assert announced_labels.shape == announced_images.shape[:1]
    shapes = [images.shape for images, _ in batches]
    assert all(announced_images.shape.is_compatible_with(shape) for shape in shapes)
    assert len(shapes) == batches.cardinality()
    assert sum(shape[0] for shape in shapes) == size - (size % batch_size) * drop_remainder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1; got 2.5"),
        ({"initial_epoch": -1}, "initial_epoch must be an integer of at least 0"),
        ({"memory_limit": None}, "memory_limit must be an integer of at least 0"),
        ({"seed": "a"}, "seed must be an integer from 0 to"),
        ({"binarization": "static"}, "one of dynamic, fixed, threshold, none; got 'static'"),
        ({"maximum_intensity": 0}, "maximum_intensity must be a finite number above 0; got 0"),
        ({"batch_size": 2000, "drop_remainder": True}, "1437 images, less than one batch of 2000"),
    ],
)
def test_bad_arguments(digits_data_dir, arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset(**arguments, data_dir=digits_data_dir)


def test_labels_where_there_are_none(synthetic_data_dir):
    with pytest.raises(InputError, match="has no labels"):
        load_dataset(SyntheticColor.name, with_labels=True, data_dir=synthetic_data_dir)
