"""The embedded data set in color: pieces of the two photographs that ship inside scikit-learn."""

import functools
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfvae.datasets.embedded import EmbeddedBuilder

PATCH_SIZE = 32
BLOCK_SIZE = 64
STEPS = {"train": 8, "validation": 32, "test": 32}


class PhotoPatches(EmbeddedBuilder):
    """2,496 patches of two photographs, 32 x 32 x 3, values from 0 to 255.

    Each photograph of 427 x 640 pixels is cut into 6 x 10 blocks of 64 x 64. Of every ten blocks
    along the diagonals, the first is for `test`, the second for `validation`, and the others for
    `train`, so that no pixel is in two splits. From a block to train on come the 25 patches whose
    corners are 8 pixels apart, from the others the 4 that do not overlap: 2,400, 48 and 48 images.
    The label is the photograph.

    References:
        The photographs are by danielbuechele (china) and vultilion (flower), CC BY 2.0:
        https://scikit-learn.org/stable/datasets/loading_other_datasets.html#sample-images.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Blocks of 64 x 64, patches of 32 x 32."}
    class_names = ("china", "flower")
    HOMEPAGE = "https://scikit-learn.org/stable/datasets/loading_other_datasets.html#sample-images"

    @classmethod
    @functools.cache
    def arrays(cls, config: str | None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Cuts the patches, whose keys count them."""
        from sklearn.datasets import load_sample_images

        patches: dict[str, list[np.ndarray]] = {split: [] for split in STEPS}
        labels: dict[str, list[int]] = {split: [] for split in STEPS}
        for label, photograph in enumerate(load_sample_images().images):
            for row, column in np.ndindex(*(size // BLOCK_SIZE for size in photograph.shape[:2])):
                place = (3 * row + column) % 10
                split = {0: "test", 1: "validation"}.get(place, "train")
                corners = range(0, BLOCK_SIZE - PATCH_SIZE + 1, STEPS[split])
                for top in (row * BLOCK_SIZE + corner for corner in corners):
                    for left in (column * BLOCK_SIZE + corner for corner in corners):
                        patch = photograph[top : top + PATCH_SIZE, left : left + PATCH_SIZE]
                        patches[split].append(patch)
                        labels[split].append(label)
        return {
            split: (
                np.arange(len(patches[split])),
                np.stack(patches[split]),
                np.array(labels[split]),
            )
            for split in STEPS
        }
