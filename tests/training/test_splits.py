import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from synthetic_datasets import SyntheticBuilder, SyntheticGray

from tfvae.common.errors import InputError
from tfvae.datasets import describe_dataset
from tfvae.training import splits
from tfvae.training.settings import TrainingSettings


def test_images_to_evaluate_on_are_sampled_once(digits_data_dir):
    settings = TrainingSettings(data_dir=str(digits_data_dir))
    for split, same in (("train", False), ("validation", True), ("test", True)):
        data = splits.load_split(settings, split, shuffle=False)
        first, second = next(iter(data)), next(iter(data))
        assert bool((first.numpy() == second.numpy()).all()) == same


def test_images_to_evaluate_on_do_not_depend_on_the_seed(digits_data_dir):
    batches = [
        next(
            iter(
                splits.load_split(TrainingSettings(data_dir=str(digits_data_dir), seed=seed), split)
            )
        )
        for split in ("test", "train")
        for seed in (0, 1)
    ]
    assert (batches[0].numpy() == batches[1].numpy()).all()
    assert not (batches[2].numpy() == batches[3].numpy()).all()


class SyntheticTestAlone(SyntheticBuilder):
    SIZES: ClassVar = {"test": 3}
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(4, 4, 1))}

    def image(self, index):
        return np.zeros((4, 4, 1), np.uint8)


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    """Settings of 50 images in train, each as bright as its label says, and 20 held out."""
    data_dir = str(tmp_path_factory.mktemp("synthetic"))
    return TrainingSettings(dataset=SyntheticGray.name, data_dir=data_dir, binarization="none")


def values(settings, split):
    data = splits.load_split(settings, split, shuffle=False)
    return [float(image.mean()) for batch in data.as_numpy_iterator() for image in batch]


def test_num_validation_images_are_those_at_the_end_of_train(gray):
    description = describe_dataset(gray.dataset, gray.data_dir)
    assert splits.sizes(gray, description) == {"train": 45, "validation": 5, "test": 20}
    tenth = values(gray, "validation")
    fewer = gray.replace(num_validation_images=2)
    assert splits.sizes(fewer, description) == {"train": 48, "validation": 2, "test": 20}
    assert values(fewer, "validation") == tenth[-2:]
    assert values(fewer, "train") == values(gray, "train") + tenth[:-2]
    assert values(fewer, "test") == values(gray, "test") == [1.0] * 20
    # What is asked for in TFDS's own words is that.
    assert len(values(fewer, "train[:7]")) == 7


def test_a_data_set_without_a_test_split_has_no_images_held_out(gray):
    description = describe_dataset(gray.dataset, gray.data_dir)
    description = dataclasses.replace(description, num_examples={"train": 45, "validation": 5})
    assert splits.sizes(gray, description) == {"train": 45, "validation": 5, "test": 0}


def test_num_validation_images_leave_some_to_train_on(gray):
    for count in (50, 51):
        settings = gray.replace(num_validation_images=count)
        message = rf"must leave images to train on, of the 50 of synthetic_gray/1.0.0; got {count}"
        for split in ("train", "validation"):
            with pytest.raises(InputError, match=message):
                splits.load_split(settings, split)
    assert len(values(gray.replace(num_validation_images=49), "train")) == 1


def test_num_validation_images_are_not_for_a_data_set_that_has_a_split_of_them(digits_data_dir):
    settings = TrainingSettings(data_dir=str(digits_data_dir), num_validation_images=100)
    with pytest.raises(
        InputError, match=r"digits/28x28/1.0.0 has a validation split .* of 180 images"
    ):
        splits.load_split(settings, "train")


def test_a_data_set_without_train_says_so(tmp_path):
    settings = TrainingSettings(
        dataset=SyntheticTestAlone.name, data_dir=str(tmp_path), num_validation_images=2
    )
    with pytest.raises(InputError, match="has no split 'train'; it has test"):
        splits.load_split(settings, "train")
    assert len(values(settings, "test")) == 3


def test_first_images_have_labels_where_the_data_set_has_them(gray):
    description = describe_dataset(gray.dataset, gray.data_dir)
    images, labels = splits.first_images(gray, description, split="train", count=7)
    assert images.shape == (7, 4, 3, 1)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), 5 * labels / 255, rtol=1e-6)
    unlabeled = dataclasses.replace(description, class_names=None)
    images, labels = splits.first_images(gray, unlabeled, split="train", count=7)
    assert images.shape == (7, 4, 3, 1)
    assert labels is None
