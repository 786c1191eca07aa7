"""Data sets made of what scikit-learn ships: TFDS builders that need no place on disk."""

import abc
import functools
import inspect
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing

from tfvae.datasets.sources import Source, source_of_columns


class EmbeddedInfo(tfds.core.DatasetInfo):
    """The information on an embedded data set, of which there is no more on the network."""

    def initialize_from_bucket(self) -> None:
        """Does nothing, where TFDS would make a temporary folder."""


class EmbeddedBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder whose records are arrays; TFDS may write them, but need not."""

    class_names: Sequence[str]
    HOMEPAGE: str

    @classmethod
    @abc.abstractmethod
    def arrays(cls, config: str | None) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Gives the keys, the images and the labels of each split, made once per process."""

    @property
    def config_name(self) -> str | None:
        """The name of the configuration, None where there is but one."""
        return self.builder_config.name if self.builder_config else None

    def _info(self) -> tfds.core.DatasetInfo:
        _, images, _ = self.arrays(self.config_name)["test"]
        features = {
            "image": tfds.features.Image(shape=images.shape[1:]),
            "label": tfds.features.ClassLabel(names=self.class_names),
        }
        return EmbeddedInfo(
            builder=self,
            description=inspect.getdoc(type(self)),
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
        )

    def _split_generators(self, dl_manager):
        splits = self.arrays(self.config_name)
        return {split: self._generate_examples(*rows) for split, rows in splits.items()}

    def _generate_examples(self, keys, images, labels):
        for key, image, label in zip(keys.tolist(), images, labels.tolist(), strict=True):
            yield key, {"image": image, "label": label}


def embedded_source(builder: EmbeddedBuilder, maximum_intensity: float) -> Source:
    """Makes a source of an embedded data set."""
    return source_of_columns(
        _columns(type(builder), builder.config_name),
        name=builder.info.full_name,
        image_shape=builder.info.features["image"].shape,
        image_dtype=np.dtype(np.uint8),
        maximum_intensity=maximum_intensity,
        class_names=tuple(builder.class_names),
    )


@functools.cache
def _columns(kind: type[EmbeddedBuilder], config: str | None) -> dict[str, dict[str, np.ndarray]]:
    """The columns of each split, with TFDS's own order and names of the records."""
    columns = {}
    for split, (keys, images, labels) in kind.arrays(config).items():
        hasher = hashing.Hasher(split)
        order = sorted(range(len(keys)), key=lambda row: hasher.hash_key(int(keys[row])))
        file = f"{kind.name}-{split}.tfrecord-00000-of-00001"
        names = np.array([f"{file}__{row}" for row in range(len(keys))])
        columns[split] = {"image": images[order], "label": labels[order], "tfds_id": names}
    return columns
