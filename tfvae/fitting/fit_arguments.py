"""What Keras users give to `fit` and `evaluate`: completed where Keras trips, and checked."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.common.images import check_images


def by_name(method: Callable, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments with which a method of Keras is called, by name."""
    arguments = inspect.signature(method).bind(*args, **kwargs).arguments
    return {**arguments.pop("kwargs", {}), **arguments}


def prepare_fit(model: keras.Model, arguments: dict[str, Any]) -> None:
    """Checks the arguments of `fit`, and changes them to what Keras does the right thing with."""
    if arguments.get("class_weight") is not None:
        raise InputError(
            "a VAE has no classes to weight: give `sample_weight`, a weight for each image"
        )
    _complete_targets(arguments)
    validation_data = arguments.get("validation_data")
    if isinstance(validation_data, tuple) and len(validation_data) == 3:
        images, targets, sample_weight = validation_data
        targets = sample_weight if targets is None else targets
        arguments["validation_data"] = (images, targets, sample_weight)
    if isinstance(arguments["x"], tf.data.Dataset):
        # A data set shuffles itself or not; Keras's default asks for it, and warns.
        arguments["shuffle"] = False
    batch_size = arguments.get("batch_size")
    _check_data(model, arguments["x"], "images", batch_size)
    validation_batch_size = arguments.get("validation_batch_size") or batch_size
    _check_data(model, validation_data, "validation images", validation_batch_size)
    model.images_to_check = "images"


def prepare_evaluate(model: keras.Model, arguments: dict[str, Any]) -> None:
    """Checks the arguments of `evaluate`, and changes them likewise."""
    _complete_targets(arguments)
    # `fit` passes on its callbacks in this form, and has checked its validation data.
    is_in_fit = isinstance(arguments.get("callbacks"), keras.callbacks.CallbackList)
    if not is_in_fit:
        _check_data(model, arguments["x"], "images", arguments.get("batch_size"))
    model.images_to_check = "validation images" if is_in_fit else "images"


def _complete_targets(arguments):
    """Adds targets, which nobody reads: Keras forgets sample weights that come without targets."""
    if arguments.get("y") is None:
        arguments["y"] = arguments.get("sample_weight")


def _check_data(model, data, name, batch_size):
    """Checks all values of an array before anything runs, and whether a data set is empty.

    The images of a data set are checked when its first batch is trained on (`FirstBatchCheck`):
    to look at them here would start an iteration that nobody trains on.
    """
    if isinstance(data, tf.data.Dataset) and data.cardinality() == 0:
        raise InputError(_empty_dataset(name))
    if isinstance(data, tuple | list):
        data = keras.utils.unpack_x_y_sample_weight(data)[0]
    if not (tf.is_tensor(data) or hasattr(data, "__array__")):
        return
    images = check_images(data, model.image_shape, name=name, nonempty=True)
    num_images = min(images.shape[0], batch_size or images.shape[0])
    _check_count(num_images, name, model.strategy.num_replicas_in_sync)


class FirstBatchCheck:
    """Checks the values of the first batch that a data set gives, before it is trained on.

    The check runs on the host while the compiled function runs, and TensorFlow hides the error
    that it raises there in one of its own; `run` raises the original.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._error: InputError | None = None

    def run(self, function: Callable, iterator: Any) -> dict[str, tf.Tensor]:
        """Calls a function of an iterator and of whether its first batch is still to be checked.

        It says whether there was a batch, and gives the logs.
        """
        name, self._error = self._model.images_to_check, None
        try:
            has_batch, logs = function(iterator, tf.constant(name is not None))
        except tf.errors.OpError as error:
            raise (self._error or error) from None
        if not has_batch:
            if name is None:
                raise StopIteration
            raise InputError(_empty_dataset(name))
        self._model.images_to_check = None
        return logs

    def __call__(self, batch: tf.experimental.Optional, is_wanted: tf.Tensor) -> tf.Tensor:
        """Whether to go on with a batch: true, or an error when it runs."""

        def check_on_host():
            parts = self._model.strategy.experimental_local_results(batch.get_value())
            images = [keras.utils.unpack_x_y_sample_weight(part)[0] for part in parts]
            check = functools.partial(self._check, num_replicas=len(images))
            return tf.ensure_shape(tf.numpy_function(check, [tf.concat(images, 0)], tf.bool), [])

        return tf.cond(is_wanted & batch.has_value(), check_on_host, lambda: tf.constant(True))

    def _check(self, images, num_replicas):
        name = self._model.images_to_check
        try:
            check_images(images, self._model.image_shape, name=name)
            _check_count(len(images), name, num_replicas)
        except InputError as error:
            self._error = error
            raise
        return np.bool_(True)


def num_steps(arguments: dict[str, Any]) -> int:
    """How many steps a `fit` with these arguments takes; 0 where that is not known."""
    data, steps_per_epoch = arguments["x"], arguments.get("steps_per_epoch")
    if steps_per_epoch is None and isinstance(data, tf.data.Dataset):
        # It is negative where it is infinite or unknown.
        steps_per_epoch = int(data.cardinality())
    elif steps_per_epoch is None and hasattr(data, "shape"):
        kept = 1 - (arguments.get("validation_split") or 0)
        steps_per_epoch = math.ceil(kept * data.shape[0] / (arguments.get("batch_size") or 32))
    return max(0, steps_per_epoch or 0) * arguments.get("epochs", 1)


def _check_count(num_images, name, num_replicas):
    if num_images < num_replicas:
        raise InputError(
            f"a batch of {num_images} {name} is too small for {num_replicas} replicas: "
            f"give batches of at least {num_replicas}"
        )


def _empty_dataset(name):
    return (
        f"the data set of {name} is empty: give at least one batch (a batch size above the number "
        "of images, with drop_remainder=True, leaves none)"
    )
