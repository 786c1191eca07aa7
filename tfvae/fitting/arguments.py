"""What Keras users give to `fit` and `evaluate`: checked, and completed where Keras trips."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.common.images import check_images


def complete_fit(arguments: dict[str, Any]) -> None:
    """Changes the arguments of `fit` to those that Keras does the right thing with.

    Args:
        arguments: By name, as they were given.

    Raises:
        InputError: If there is a `class_weight`.
    """
    if arguments.get("class_weight") is not None:
        raise InputError(
            "a VAE has no classes to weight: give `sample_weight`, a weight for each image"
        )
    complete_targets(arguments)
    validation_data = arguments.get("validation_data")
    if isinstance(validation_data, tuple) and len(validation_data) == 3:
        images, targets, sample_weight = validation_data
        targets = _some_targets(targets, sample_weight)
        arguments["validation_data"] = (images, targets, sample_weight)
    if isinstance(arguments["x"], tf.data.Dataset):
        # Which shuffles itself or not; asking for it, as Keras's default does, is a warning.
        arguments["shuffle"] = False


def complete_targets(arguments: dict[str, Any]) -> None:
    """Adds targets, which nobody reads, where there are sample weights without any."""
    arguments["y"] = _some_targets(arguments.get("y"), arguments.get("sample_weight"))


def data_of_fit(arguments: dict[str, Any]) -> Iterator[tuple[str, Any, int | None]]:
    """The data among the arguments of `fit`, each with what to call it and its batch size."""
    batch_size = arguments.get("batch_size")
    yield "images", arguments["x"], batch_size
    validation_batch_size = arguments.get("validation_batch_size") or batch_size
    yield "validation images", arguments.get("validation_data"), validation_batch_size


def steps_of_fit(arguments: dict[str, Any]) -> int:
    """How many steps a `fit` takes from its first epoch on; 0 where that is not known.

    Args:
        arguments: Of `fit`, by name.
    """
    data, steps_per_epoch = arguments["x"], arguments.get("steps_per_epoch")
    if steps_per_epoch is None and isinstance(data, tf.data.Dataset):
        # Negative where it is infinite or unknown.
        steps_per_epoch = int(data.cardinality())
    elif steps_per_epoch is None and hasattr(data, "shape"):
        kept = 1 - (arguments.get("validation_split") or 0)
        steps_per_epoch = math.ceil(kept * data.shape[0] / (arguments.get("batch_size") or 32))
    return max(0, steps_per_epoch or 0) * arguments.get("epochs", 1)


def check_data(
    data: Any,
    image_shape: tuple[int, int, int],
    name: str,
    batch_size: int | None,
    *,
    num_replicas: int,
) -> None:
    """Looks at all of an array, or at the first batch of a data set, before anything runs.

    Args:
        data: What was given for `x`, or as `validation_data`.
        image_shape: The `(height, width, channels)` of the model.
        name: What errors call the images.
        batch_size: Into which an array will be cut.
        num_replicas: Among which each batch will be shared out.

    Raises:
        InputError: If there are no images, too few for the replicas, or other ones.
    """
    if isinstance(data, tf.data.Dataset):
        batch = next(iter(data.take(1)), None)
        if batch is None:
            raise InputError(
                f"the data set of {name} is empty: give at least one batch (a batch size above "
                "the number of images, with drop_remainder=True, leaves none)"
            )
        data = batch
    if isinstance(data, tuple | list):
        data = keras.utils.unpack_x_y_sample_weight(data)[0]
    if not (tf.is_tensor(data) or hasattr(data, "__array__")):
        return
    images = check_images(data, image_shape, name=name)
    if images.shape[0] == 0:
        raise InputError(f"{name} are empty: shape {list(images.shape)}")
    num_images = min(images.shape[0], batch_size or images.shape[0])
    if num_images < num_replicas:
        raise InputError(
            f"a batch of {num_images} {name} is too small for {num_replicas} replicas: "
            f"give batches of at least {num_replicas}"
        )


def _some_targets(targets, sample_weight):
    """Keras forgets the sample weights of data without targets; any will do."""
    return sample_weight if targets is None else targets
