from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from synthetic_datasets import SyntheticBuilder, SyntheticGray, epochs

from tfvae.common.errors import InputError
from tfvae.datasets import load_dataset, records


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


class SyntheticNotANumber(SyntheticFloat):
    def image(self, index):
        return np.full((4, 4, 1), np.nan if index == 10 else 0.5, np.float32)


@pytest.fixture(params=[2**30, 100], ids=["in memory", "streamed"])
def options(request, synthetic_data_dir):
    return {"data_dir": synthetic_data_dir, "memory_limit": request.param}


def test_float_images_keep_their_scale(options):
    (images,) = epochs(load_dataset("synthetic_float", binarization="none", **options))
    np.testing.assert_array_equal(images, np.full((45, 4, 4, 1), 0.25, np.float32))


def test_images_of_0_and_1_need_to_be_told(options):
    with pytest.raises(InputError, match=r"no value above 1.* pass maximum_intensity=1 "):
        load_dataset("synthetic_zero_one", **options)
    (images,) = epochs(load_dataset("synthetic_zero_one", maximum_intensity=1, **options))
    np.testing.assert_array_equal(images, np.broadcast_to(np.eye(4)[..., None], (45, 4, 4, 1)))


@pytest.mark.parametrize(
    ("name", "maximum", "message"),
    [
        ("synthetic_float_of_wide_range", None, "0 and 1; they hold values from 2.5 to 2.5"),
        ("synthetic_not_a_number", None, "0 and 1; they hold values from nan to nan"),
        ("synthetic_gray", 100, "within 0 and 100; they hold values from 0 to 245"),
    ],
)
def test_values_beyond_the_scale_are_refused(options, name, maximum, message):
    with pytest.raises(InputError, match=message):
        load_dataset(name, "train[:100%]", maximum_intensity=maximum, **options)


def test_values_beyond_the_scale_that_come_late(synthetic_data_dir, monkeypatch):
    monkeypatch.setattr(records, "RECORDS_PER_CHUNK", 10)
    # The greatest value of the first ten records is 235.
    options = {"split": "train[:100%]", "maximum_intensity": 240, "data_dir": synthetic_data_dir}
    with pytest.raises(InputError, match="they hold values from 0 to 245"):
        load_dataset(SyntheticGray.name, **options)
    batches = load_dataset(SyntheticGray.name, memory_limit=100, **options)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not within 0 and 240"):
        epochs(batches)


@pytest.mark.parametrize("memory_limit", [2**30, 100])
def test_damaged_records(tmp_path, memory_limit):
    load_dataset(SyntheticGray.name, data_dir=tmp_path)
    (file,) = (tmp_path / SyntheticGray.name / "1.0.0").glob("*train*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot be read .*delete .* prepared anew"):
        load_dataset(
            SyntheticGray.name, "train[:100%]", data_dir=tmp_path, memory_limit=memory_limit
        )
