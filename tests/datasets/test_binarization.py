import numpy as np
import pytest
import tensorflow as tf
from synthetic_datasets import SyntheticColor, SyntheticGray, digest, epochs

from tfvae.datasets import load_dataset
from tfvae.datasets.binarization import sample_binary


@pytest.fixture(scope="module")
def gray(digits_data_dir):
    """The intensities of the validation images of the digits, in their order."""
    options = {"binarization": "none", "data_dir": digits_data_dir}
    return epochs(load_dataset("digits", "validation", **options))[0]


@pytest.mark.slow
def test_mnist_and_binarized_mnist_have_the_same_mean(shared_data_dir):
    # The mean gray value of MNIST's 60,000 training images is 33.3184 of 255: 0.130660.
    batches = load_dataset(
        "mnist", "train[:100%]", binarization="none", batch_size=1000, data_dir=shared_data_dir
    )
    mean_image = np.mean([images.numpy().mean(axis=0) for images in batches], axis=0)
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
    # Given the gray values, a frequency's variance is at most p (1 - p) / n; its standard error
    # over all pixels is below 1e-4. Pixel by pixel 5.5 standard errors leave 3e-5 to chance.
    assert frequency.mean() == pytest.approx(mean_image.mean(), abs=1e-4)
    standard_error = np.sqrt(mean_image * (1 - mean_image) / count)
    assert np.all(np.abs(frequency - mean_image) <= 5.5 * standard_error + 1e-6)


def test_0_and_1_stay_as_they_are(shared_data_dir):
    options = {"split": "test[:100]", "data_dir": shared_data_dir}
    expected = epochs(load_dataset("binarized_mnist", binarization="none", **options))[0]
    for binarization in ("dynamic", "threshold", "fixed"):
        found = epochs(load_dataset("binarized_mnist", binarization=binarization, **options))[0]
        np.testing.assert_array_equal(found, expected)


def test_dynamic_frequencies_are_the_intensities(synthetic_data_dir):
    batches = load_dataset(
        SyntheticColor.name, batch_size=45, seed=3, data_dir=synthetic_data_dir, shuffle=False
    )
    images = np.stack(list(batches.repeat(15).as_numpy_iterator()))  # [15, 45, 5, 7, 3]
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
        SyntheticGray.name,
        "train[:100%]",
        binarization="threshold",
        with_labels=True,
        data_dir=synthetic_data_dir,
    )
    for images, labels in batches:
        expected = labels[:, None, None, None] * 5 > 127
        np.testing.assert_array_equal(images, np.broadcast_to(expected, images.shape))


def test_fixed_is_fixed_by_seed_and_record_alone(digits_data_dir, gray):
    def load(split="validation", seed=5, **options):
        options |= {"binarization": "fixed", "seed": seed, "data_dir": digits_data_dir}
        return load_dataset("digits", split, **options)

    once, again = epochs(load(), 2)
    np.testing.assert_array_equal(once, again)
    (shuffled,) = epochs(load(shuffle=True, batch_size=17))
    assert not np.array_equal(once, shuffled)
    assert sorted(map(digest, once)) == sorted(map(digest, shuffled))
    np.testing.assert_array_equal(epochs(load("validation[30:100]"))[0], once[30:100])
    assert not np.array_equal(once, epochs(load(seed=6))[0])
    # Sampled, and with the right frequency.
    assert set(np.unique(once)) == {0, 1}
    standard_error = np.sqrt((gray * (1 - gray)).sum()) / gray.size
    assert abs(once.mean() - gray.mean()) < 4 * standard_error
    residuals = (once - gray).sum(axis=0) / np.sqrt((gray * (1 - gray)).sum(axis=0) + 1e-12)
    assert np.abs(residuals).max() < 5


def test_fixed_without_a_seed_is_one_data_set(digits_data_dir):
    options = {"split": "test[:50]", "binarization": "fixed", "data_dir": digits_data_dir}
    one, other = (epochs(load_dataset(**options))[0] for _ in "ab")
    np.testing.assert_array_equal(one, other)
