"""The records of a split, read into memory or streamed, and checked against their scale."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.datasets.binarization import Binarizer
from tfvae.datasets.sources import Source

RECORDS_PER_CHUNK = 1024  # are worked on at once, so that no cost is paid per record


@dataclasses.dataclass(frozen=True)
class SplitReader:
    """Reads the images of a slice of a source and, where asked, their labels."""

    source: Source
    split: str
    with_labels: bool
    binarizer: Binarizer
    scale_is_given: bool  # by the user, as `maximum_intensity`

    def in_memory(self) -> tuple[tf.Tensor, ...]:
        """Reads the whole split: images `[n, h, w, c]`, and labels `[n]` where asked."""
        chunks = self._chunks()
        num_examples = self.source.num_examples(self.split)
        columns = [
            np.empty((num_examples, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
            for spec in chunks.element_spec[1:]
        ]
        ranges, end = [], 0
        for chunk_range, *tensors in self._read(chunks):
            ranges.append(chunk_range)
            start, end = end, end + len(tensors[0])
            for column, tensor in zip(columns, tensors, strict=True):
                column[start:end] = tensor
        self._check_scale(np.concatenate(ranges))
        with tf.device("CPU"):
            return tuple(tf.convert_to_tensor(column) for column in columns)

    def streamed(self) -> tf.data.Dataset:
        """Reads the split record by record: a data set of `(image,)` or `(image, label)`."""
        chunks = self._chunks()
        for first_range, *_ in self._read(chunks.take(1)):
            self._check_scale(first_range.numpy())
        maximum = self.binarizer.maximum_intensity

        def check(chunk_range: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
            in_range = (chunk_range >= 0) & (chunk_range <= maximum)
            message = f"an image of {self._name} is not within 0 and {maximum:g}"
            tf.debugging.Assert(tf.reduce_all(in_range), [message])
            return tensors

        return chunks.map(check).unbatch()

    @property
    def _name(self) -> str:
        return f"{self.source.description.name} ({self.split})"

    def _chunks(self) -> tf.data.Dataset:
        """Chunks of the range of the stored values, float32 `[2]`, images and labels if asked."""
        # TFDS's names of the records take time.
        with_record_ids = self.binarizer.binarization == "fixed"
        records = self.source.read(self.split, with_record_ids=with_record_ids)

        def convert(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            images = record["image"]
            stored_range = [tf.reduce_min(images), tf.reduce_max(images)]
            labels = (record["label"],) if self.with_labels else ()
            images = self.binarizer.when_read(images, record.get("tfds_id"))
            return tf.cast(stored_range, tf.float32), images, *labels

        return records.batch(RECORDS_PER_CHUNK).map(convert).prefetch(1)

    def _check_scale(self, values: np.ndarray) -> None:
        least, greatest = values.min(), values.max()
        maximum = self.binarizer.maximum_intensity
        if not (least >= 0 and greatest <= maximum):  # NaN fails too
            raise InputError(
                f"the images of {self._name} must lie within 0 and {maximum:g}; they hold values "
                f"from {least:g} to {greatest:g}: pass the value that means an intensity of 1 as "
                "maximum_intensity"
            )
        if greatest == 1 < maximum and not self.scale_is_given:
            raise InputError(
                f"the images of {self._name} hold no value above 1, and {maximum:g} was expected: "
                f"pass maximum_intensity=1 if they are 0 and 1, maximum_intensity={maximum:g} if "
                "they are as dark as that"
            )

    def _read(self, chunks: tf.data.Dataset) -> Iterator[tuple[tf.Tensor, ...]]:
        try:
            yield from chunks
        except tf.errors.OpError as error:
            raise InputError(
                f"the records of {self._name} cannot be read ({type(error).__name__}): "
                f"{self.source.remedy}"
            ) from error
