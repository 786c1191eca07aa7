"""The embedded data set, as a TFDS builder: the digits that ship inside scikit-learn."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SOURCE_MAXIMUM = 16  # scikit-learn's digits count the dark points in squares of 4 x 4
IMAGE_SIZE = 28
MARGIN = 4  # as MNIST has it: strokes that end at the edge look cut off


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 handwritten digits of 43 people, 28 x 28 x 1, grey values 0 to 255.

    The splits are fixed and about balanced in the classes: of the images in the order of their
    classes, the first of every ten goes to `test`, the second to `validation`, the others to
    `train`: 1,437, 180 and 180 images.

    References:
        E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning
        Repository, 1998.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "20 x 20 by bicubic interpolation, framed to 28 x 28."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "The 1,797 handwritten digits of 8 x 8 pixels that ship inside scikit-learn, "
                "brought to 20 x 20 by bicubic interpolation and framed to 28 x 28."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(IMAGE_SIZE, IMAGE_SIZE, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # nothing to download
        from sklearn.datasets import load_digits

        digits = load_digits()
        by_class = np.argsort(digits.target, kind="stable")
        place = np.arange(len(by_class)) % 10
        indices = {
            "train": by_class[place > 1],
            "validation": by_class[place == 1],
            "test": by_class[place == 0],
        }
        return {
            split: self._generate_examples(digits.images, digits.target, indices[split])
            for split in indices
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for index in indices:
            yield int(index), {"image": enlarge(images[index]), "label": int(labels[index])}


def enlarge(image: np.ndarray) -> np.ndarray:
    """Brings an image of 8 x 8 values from 0 to 16 to 28 x 28 x 1 grey values.

    By bicubic interpolation to 20 x 20, with a black frame around it, like the digits of MNIST.

    Args:
        image: Array `[8, 8]`, values in 0 to 16.

    Returns:
        uint8 array `[28, 28, 1]`, values in 0 to 255.
    """
    # As floats: between the two passes, bytes would cut off what the splines overshoot.
    grey = Image.fromarray((image * (255 / SOURCE_MAXIMUM)).astype(np.float32))
    size = IMAGE_SIZE - 2 * MARGIN
    large = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))
    return np.pad(np.clip(np.round(large), 0, 255).astype(np.uint8), MARGIN)[..., np.newaxis]
