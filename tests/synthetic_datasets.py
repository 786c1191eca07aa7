"""Data sets of TFDS whose images are known, and how epochs are compared."""

import hashlib
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds


class SyntheticBuilder(tfds.core.GeneratorBasedBuilder):
    """Images whose values are known: `image(index)` of `SIZES[split]` records per split."""

    VERSION = tfds.core.Version("1.0.0")
    SIZES: ClassVar = {"train": 50, "test": 20}
    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(5, 3, 2))}

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SIZES}

    def _generate_examples(self, split):
        for index in range(self.SIZES[split]):
            yield index, self.record(index, split)

    def record(self, index, split):
        return {"image": self.image(index)}


class SyntheticGray(SyntheticBuilder):
    """Every value of an image is five times its label; test's images are brighter than train's."""

    FEATURES: ClassVar = {
        "image": tfds.features.Image(shape=(4, 3, 1)),
        "label": tfds.features.ClassLabel(num_classes=50),
        "note": tfds.features.Text(),
    }

    def record(self, index, split):
        value = 5 * index if split == "train" else 255
        return {"image": np.full((4, 3, 1), value, np.uint8), "label": index, "note": "x"}


class SyntheticColor(SyntheticBuilder):
    """Red is off, green at a fifth and blue full, at every pixel; there are no labels."""

    FEATURES: ClassVar = {"image": tfds.features.Image(shape=(5, 7, 3))}

    def image(self, index):
        return np.full((5, 7, 3), [0, 51, 255], np.uint8)


def epochs(dataset, count=1):
    """The images of several epochs, each as one array."""
    return [np.concatenate([images.numpy() for images in dataset]) for _ in range(count)]


def digest(array):
    """A text that two arrays share only if they are equal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
