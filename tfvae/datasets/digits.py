"""The embedded gray data set: the digits that ship inside scikit-learn."""

import functools
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tfvae.datasets.embedded import EmbeddedBuilder

SOURCE_MAXIMUM = 16  # scikit-learn's digits count the dark points in squares of 4 x 4
IMAGE_SIZE = 28
MARGIN = 4  # as MNIST has it: strokes that end at the edge look cut off


class Digits(EmbeddedBuilder):
    """1,797 handwritten digits of 43 people, out of scikit-learn.

    `digits/28x28`, which is also `digits`: enlarged, gray values from 0 to 255. The splits are
    fixed and about balanced in the classes: of the images in the order of their classes, the first
    of every ten goes to `test`, the second to `validation`, and the others to `train`: 180, 180
    and 1,437 images.

    `digits/8x8`: as they are, with the 17 levels from 0 to 16. In scikit-learn's order the first
    1,000 are `train`, the next 350 `validation` and the last 447 `test`, as Tomczak has them.

    References:
        E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning
        Repository, 1998.
        J. M. Tomczak. Deep Generative Modeling. Springer, 2022.
        https://github.com/jmtomczak/intro_dgm.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "20 x 20 by bicubic interpolation, framed to 28 x 28."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="28x28", description="Enlarged, with 256 levels."),
        tfds.core.BuilderConfig(name="8x8", description="As they are, with 17 levels."),
    ]

    class_names = "0123456789"
    HOMEPAGE = "https://archive.ics.uci.edu/dataset/80"

    @classmethod
    @functools.cache
    def arrays(cls, config: str | None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Gives the places in scikit-learn's array, the images and the labels of each split."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        places = np.arange(len(digits.target))
        if config == "28x28":
            images = np.stack([enlarge(image) for image in digits.images])
            by_class = np.argsort(digits.target, kind="stable")
            parts = [by_class[places % 10 > 1], by_class[1::10], by_class[::10]]
        else:
            images = digits.images.astype(np.uint8)[..., np.newaxis]
            parts = np.split(places, [1000, 1350])
        return {
            split: (part, images[part], digits.target[part])
            for split, part in zip(("train", "validation", "test"), parts, strict=True)
        }


def enlarge(image: np.ndarray) -> np.ndarray:
    """Brings `[8, 8]` values from 0 to 16 to uint8 `[28, 28, 1]` gray values from 0 to 255.

    The image becomes 20 x 20 by bicubic interpolation, in a black frame like MNIST's.
    """
    # As floats: between the two passes, bytes would cut off what the splines overshoot.
    gray = Image.fromarray((image * (255 / SOURCE_MAXIMUM)).astype(np.float32))
    size = IMAGE_SIZE - 2 * MARGIN
    large = np.asarray(gray.resize((size, size), Image.Resampling.BICUBIC))
    return np.pad(np.clip(np.round(large), 0, 255).astype(np.uint8), MARGIN)[..., np.newaxis]
