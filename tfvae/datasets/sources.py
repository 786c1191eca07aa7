"""What a data set is to those who read it, wherever its records lie."""

import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class DatasetDescription:
    """What is known of a data set before its images are read.

    Attributes:
        name: The full name with its version, such as `mnist/3.0.1`, or the path.
        image_shape: `(height, width, channels)`.
        image_dtype: The type in which the images are stored.
        maximum_intensity: The stored value that means an intensity of 1.
        num_examples: The number of images of each split, by the split's name. Where TFDS gives no
            validation split, `train` is the first 90 % of TFDS's and `validation` the rest.
        validation_is_of_train: Whether `validation` is cut from TFDS's train, for want of another.
        class_names: The names of the labels 0, 1, ...; `None` for a data set without labels.
    """

    name: str
    image_shape: tuple[int, int, int]
    image_dtype: np.dtype
    maximum_intensity: float
    num_examples: Mapping[str, int]
    validation_is_of_train: bool
    class_names: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set whose records can be read.

    Attributes:
        description: What is known of it.
        splits: The splits that can be sliced, by their names.
        read: Gives the records of a slice, and with `with_record_ids=True` their names: a data set
            of `image`, of `label` where there are labels, and of `tfds_id`.
        remedy: What to do where the records cannot be read.
    """

    description: DatasetDescription
    splits: Mapping[str, tfds.core.SplitInfo]
    read: Callable[..., tf.data.Dataset]
    remedy: str

    def num_examples(self, split: str) -> int:
        """Counts the records of a slice, 0 if a part of it ends before it starts.

        Raises what TFDS raises where there is no such slice.
        """
        sizes = [end - start for _, start, end in ranges(self.splits, split)]
        return sum(sizes) if min(sizes) >= 0 else 0


def ranges(splits: Mapping[str, tfds.core.SplitInfo], split: str) -> list[tuple[str, int, int]]:
    """The split, the start and the end of each part of a slice such as `train[:10%]+test`."""
    return [
        (part.splitname, part.from_ or 0, splits[part.splitname].num_examples)
        if part.to is None
        else (part.splitname, part.from_ or 0, part.to)
        for part in tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
    ]


def source_of_columns(
    columns: Mapping[str, Mapping[str, np.ndarray]],
    decode: Callable[[tf.Tensor], tf.Tensor] | None = None,
    remedy: str = "",
    **description: object,
) -> Source:
    """Makes a source of columns in memory, of the same length in each split.

    Args:
        columns: The columns `image`, `label` where there are labels, and `tfds_id`, by split.
        decode: Turns an element of `image` into an image; the identity if None.
        remedy: What to do where `decode` fails.
        **description: The attributes of the description, but for those of the splits.
    """
    splits = {
        split: tfds.core.SplitInfo(name=split, shard_lengths=[len(rows["tfds_id"])], num_bytes=0)
        for split, rows in columns.items()
    }

    def read(split: str, *, with_record_ids: bool = False) -> tf.data.Dataset:
        parts = [
            tf.data.Dataset.from_tensor_slices(
                {name: column[start:end] for name, column in columns[name_of_split].items()}
            )
            for name_of_split, start, end in ranges(splits, split)
        ]
        records = parts[0]
        for part in parts[1:]:
            records = records.concatenate(part)
        if decode is None:
            return records
        return records.map(
            lambda record: record | {"image": decode(record["image"])},
            num_parallel_calls=os.cpu_count(),
        )

    return Source(
        DatasetDescription(
            num_examples={split: info.num_examples for split, info in splits.items()},
            validation_is_of_train=False,
            **description,  # type: ignore[arg-type]
        ),
        splits,
        read,
        remedy,
    )
