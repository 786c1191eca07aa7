"""From a split's records to images as they are held or streamed, checked against their scale."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfvae.common.errors import InputError
from tfvae.datasets.catalog import image_feature, label_feature

RECORDS_A_CHUNK = 1024  # worked on at once, so that the cost is a chunk's and not a record's

# Images `[chunk, h, w, c]` and TFDS's names of their records, to images as they are to be stored.
Conversion = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SplitReader:
    """Reads the images, and where asked the labels, of one split.

    Attributes:
        builder: A prepared builder.
        split: A split as TFDS understands it.
        with_labels: Whether to read the labels too.
        maximum_intensity: The stored value that means an intensity of 1.
        scale_is_given: Whether the user gave it.
        with_record_ids: Whether `convert` needs TFDS's names of the records, which take time.
        convert: What is done once to the images of a chunk.
    """

    builder: tfds.core.DatasetBuilder
    split: str
    with_labels: bool
    maximum_intensity: float
    scale_is_given: bool
    with_record_ids: bool
    convert: Conversion

    def in_memory(self) -> tuple[tf.Tensor, ...]:
        """Reads the whole split: images `[n, h, w, c]`, and labels `[n]` where asked."""
        num_examples = self.builder.info.splits[self.split].num_examples
        columns: tuple[np.ndarray, ...] = ()
        least, greatest, end = np.inf, -np.inf, 0
        try:
            for images, record_ids, *labels in self._chunks():
                least = np.minimum(least, np.min(images))
                greatest = np.maximum(greatest, np.max(images))
                tensors = (self.convert(images, record_ids), *labels)
                if not columns:
                    columns = tuple(
                        np.empty((num_examples, *tensor.shape[1:]), tensor.dtype.as_numpy_dtype)
                        for tensor in tensors
                    )
                start, end = end, end + len(images)
                for column, tensor in zip(columns, tensors, strict=True):
                    column[start:end] = tensor
        except tf.errors.OpError as error:
            raise self._damaged(error) from error
        self._check_scale(least, greatest)
        with tf.device("CPU"):
            return tuple(tf.convert_to_tensor(column) for column in columns)

    def streamed(self) -> tf.data.Dataset:
        """Reads the split record by record: a data set of `(image,)` or `(image, label)`."""
        try:
            first_images = next(iter(self._chunks().take(1)))[0]
        except tf.errors.OpError as error:
            raise self._damaged(error) from error
        self._check_scale(np.min(first_images), np.max(first_images))

        def convert(images: tf.Tensor, record_ids: tf.Tensor, *labels: tf.Tensor):
            intensities = tf.cast(images, tf.float32)
            in_range = (intensities >= 0) & (intensities <= self.maximum_intensity)
            message = f"an image of {self._name} is not within 0 and {self.maximum_intensity:g}"
            tf.debugging.Assert(tf.reduce_all(in_range), [message])
            return self.convert(images, record_ids), *labels

        return self._chunks().map(convert).unbatch()

    @property
    def _name(self) -> str:
        return f"{self.builder.info.full_name} ({self.split})"

    def _chunks(self) -> tf.data.Dataset:
        image, label = image_feature(self.builder), label_feature(self.builder)
        needed = {image, label} - {None}
        # Only where there is more to leave out: TFDS warns of its own code when it decodes in part.
        has_more = set(self.builder.info.features) > needed
        records = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(needed, True)) if has_more else None,
            read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=self.with_record_ids),
        )

        def columns(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            record_ids = record["tfds_id"] if self.with_record_ids else tf.constant(b"")
            labels = (record[label],) if self.with_labels else ()
            return record[image], record_ids, *labels

        return records.batch(RECORDS_A_CHUNK).map(columns).prefetch(1)

    def _check_scale(self, least: float, greatest: float) -> None:
        if not (least >= 0 and greatest <= self.maximum_intensity):  # NaN fails too
            raise InputError(
                f"the images of {self._name} must lie within 0 and {self.maximum_intensity:g}; "
                f"they hold values from {least:g} to {greatest:g}: pass the value that means an "
                "intensity of 1 as maximum_intensity"
            )
        if greatest == 1 < self.maximum_intensity and not self.scale_is_given:
            expected = f"{self.maximum_intensity:g}"
            raise InputError(
                f"the images of {self._name} hold no value above 1, and {expected} was expected: "
                f"pass maximum_intensity=1 if they are 0 and 1, maximum_intensity={expected} if "
                "they are as dark as that"
            )

    def _damaged(self, error: tf.errors.OpError) -> InputError:
        return InputError(
            f"the records of {self._name} cannot be read ({type(error).__name__}): delete "
            f"{self.builder.data_path} so that the data set is prepared anew"
        )
