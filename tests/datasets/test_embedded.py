import contextlib
import io

import numpy as np
import pytest
import sklearn.datasets
import tensorflow_datasets as tfds
from synthetic_datasets import digest

from tfvae.datasets import describe_dataset, load_dataset
from tfvae.datasets.catalog import open_source

NAMES = ["digits", "digits/8x8", "photo_patches"]


def splits_of(name):
    """The images of each split, with their labels."""
    splits = {}
    for split in ("train", "validation", "test"):
        options = {"binarization": "none", "with_labels": True, "batch_size": 3000}
        ((images, labels),) = load_dataset(name, split, **options).as_numpy_iterator()
        splits[split] = images, labels
    return splits


@pytest.mark.parametrize("name", NAMES)
def test_embedded_data_sets_need_no_place_on_disk(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("not a folder")
    for variable in ("HOME", "TMPDIR", "TFDS_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    describe_dataset(name)
    next(iter(load_dataset(name, "test", data_dir=tmp_path / "file")))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", NAMES)
def test_records_are_those_that_tfds_writes(tmp_path, name):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        builder = tfds.builder(name, data_dir=tmp_path)
        builder.download_and_prepare()
    source = open_source(name, None)
    config = tfds.ReadConfig(add_tfds_id=True)
    for split in ("train[:100]", "validation", "test[-20:]", "train[25%:75%]"):
        pairs = zip(
            builder.as_dataset(split=split, read_config=config).as_numpy_iterator(),
            source.read(split).as_numpy_iterator(),
            strict=True,
        )
        for expected, found in pairs:
            assert expected["tfds_id"] == found["tfds_id"]
            assert expected["label"] == found["label"]
            np.testing.assert_array_equal(expected["image"], found["image"])


def test_slices_are_added_in_their_order():
    parts = [open_source("digits/8x8", None).read(split) for split in ("test[-20:]", "train[:10%]")]
    expected = [record["tfds_id"] for part in parts for record in part.as_numpy_iterator()]
    both = open_source("digits/8x8", None).read("test[-20:]+train[:10%]")
    assert [record["tfds_id"] for record in both.as_numpy_iterator()] == expected
    assert len(expected) == 120


def test_digits_of_8_x_8_are_the_splits_and_levels_of_scikit_learn():
    source = sklearn.datasets.load_digits()
    parts = np.split(np.arange(1797), [1000, 1350])
    for (images, labels), part in zip(splits_of("digits/8x8").values(), parts, strict=True):
        levels = images[..., 0] * 16
        np.testing.assert_array_equal(levels, np.round(levels))
        found = sorted(zip(map(digest, levels.astype(float)), labels, strict=True))
        expected = zip(map(digest, source.images[part]), source.target[part], strict=True)
        assert found == sorted(expected)
    assert describe_dataset("digits/8x8").maximum_intensity == 16


def test_photo_patches_share_no_pixel_between_splits():
    photographs = sklearn.datasets.load_sample_images().images
    splits = splits_of("photo_patches")
    assert {split: len(images) for split, (images, _) in splits.items()} == {
        "train": 2400,
        "validation": 48,
        "test": 48,
    }
    # Where each patch lies: its upper left corner is found by its values.
    seen = {split: np.zeros((2, 427, 640), bool) for split in splits}
    for split, (images, labels) in splits.items():
        for image, label in zip(np.round(images * 255).astype(np.uint8), labels, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(photographs[label], (32, 32, 3))
            corners = windows[::8, ::8, 0, 0, 0]
            rows, columns = np.nonzero((corners == image[0, 0]).all(axis=-1))
            places = [
                (row * 8, column * 8)
                for row, column in zip(rows, columns, strict=True)
                if np.array_equal(photographs[label][row * 8 :][:32, column * 8 :][:, :32], image)
            ]
            (row, column) = places[0]
            seen[split][label, row : row + 32, column : column + 32] = True
    assert not (seen["train"] & seen["test"]).any()
    assert not (seen["train"] & seen["validation"]).any()
    assert not (seen["test"] & seen["validation"]).any()
    assert seen["train"].sum() + seen["test"].sum() + seen["validation"].sum() == 2 * 384 * 640
