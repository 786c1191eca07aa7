"""The embedded data set, as a TFDS builder: the digits that ship inside scikit-learn."""

from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SOURCE_MAXIMUM = 16  # scikit-learn's digits count the dark points in squares of 4 x 4
IMAGE_SIZE = 28
MARGIN = 4  # as MNIST has it: strokes that end at the edge look cut off


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 handwritten digits of 43 people, 28 x 28 x 1, gray values from 0 to 255.

    They are the digits of 8 x 8 pixels that ship inside scikit-learn, enlarged. The splits are
    fixed and about balanced in the classes: of the images in the order of their classes, the first
    of every ten goes to `test`, the second to `validation`, and the others to `train`: 180, 180
    and 1,437 images.

    References:
        E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning
        Repository, 1998.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "20 x 20 by bicubic interpolation, framed to 28 x 28."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The digits of 8 x 8 pixels that ship inside scikit-learn, as 28 x 28.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(IMAGE_SIZE, IMAGE_SIZE, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits

        digits = load_digits()
        by_class = np.argsort(digits.target, kind="stable")
        place = np.arange(len(by_class)) % 10
        parts = {"train": place > 1, "validation": place == 1, "test": place == 0}
        return {
            split: self._generate_examples(digits, by_class[part]) for split, part in parts.items()
        }

    def _generate_examples(self, digits, indices):
        for index in map(int, indices):
            yield (
                index,
                {"image": enlarge(digits.images[index]), "label": int(digits.target[index])},
            )


def enlarge(image: np.ndarray) -> np.ndarray:
    """Brings `[8, 8]` values from 0 to 16 to uint8 `[28, 28, 1]` gray values from 0 to 255.

    The image becomes 20 x 20 by bicubic interpolation, in a black frame like MNIST's.
    """
    # As floats: between the two passes, bytes would cut off what the splines overshoot.
    gray = Image.fromarray((image * (255 / SOURCE_MAXIMUM)).astype(np.float32))
    size = IMAGE_SIZE - 2 * MARGIN
    large = np.asarray(gray.resize((size, size), Image.Resampling.BICUBIC))
    return np.pad(np.clip(np.round(large), 0, 255).astype(np.uint8), MARGIN)[..., np.newaxis]
