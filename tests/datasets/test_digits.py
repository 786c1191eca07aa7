import numpy as np
import pytest
import sklearn.datasets
from synthetic_datasets import digest

from tfvae.datasets import load_dataset
from tfvae.datasets.digits import enlarge


@pytest.fixture(scope="module")
def splits(digits_data_dir):
    """The gray images and the labels of each split."""
    splits = {}
    for split in ("train", "validation", "test"):
        batches = load_dataset(
            "digits",
            split,
            batch_size=2000,
            binarization="none",
            with_labels=True,
            data_dir=digits_data_dir,
        )
        ((images, labels),) = batches.as_numpy_iterator()
        splits[split] = np.round(images * 255).astype(np.uint8), labels
    return splits


def test_images_are_what_scikit_learn_ships(splits):
    source = sklearn.datasets.load_digits()
    expected = {
        (digest(enlarge(image)), label)
        for image, label in zip(source.images, source.target, strict=True)
    }
    found = [
        (digest(image), label)
        for images, labels in splits.values()
        for image, label in zip(images, labels, strict=True)
    ]
    assert len(found) == len(source.images) == 1797
    assert set(found) == expected


def test_splits_do_not_overlap_and_are_balanced(splits):
    sizes = {split: len(images) for split, (images, _) in splits.items()}
    assert sizes == {"train": 1437, "validation": 180, "test": 180}
    distinct = {split: set(map(digest, images)) for split, (images, _) in splits.items()}
    assert len(set().union(*distinct.values())) == sum(map(len, distinct.values()))
    for _, labels in splits.values():
        counts = np.bincount(labels, minlength=10)
        assert counts.max() - counts.min() <= 0.1 * counts.mean() + 1


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
