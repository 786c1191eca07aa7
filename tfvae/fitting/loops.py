"""How many steps `fit` takes between two calls of callbacks, and whether XLA compiles them.

Keras calls a function of the iterator, `steps_per_execution` steps at a time. There are two loops
behind it. The general one runs the step on each replica of a strategy, or plainly on one device.
The compiled one gathers the batches and their noise first, and XLA compiles one loop over them:
XLA wins on small steps by what it saves between them, and would lose that again if each step were
called by itself.

Keras 3 has a loop too. Under several replicas it fails with `steps_per_execution` above 1 (its
optimizer cannot leave the replicas from within a `tf.cond`), with `jit_compile=True` (XLA does not
reach over devices) and, with several workers, when it reduces its logs (over the first axis of
scalars). So here the logs are read from the metrics once the steps are done.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from tfvae import networks, objectives
from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.common.images import check_images
from tfvae.fitting.fit_arguments import FirstBatchCheck, num_steps

STEPS_PER_EXECUTION = 16
"""Enough that what Keras does between two executions is not felt."""

FEWEST_STEPS_FOR_XLA = 1000
"""A compilation takes about as long as it saves in so many steps."""

MOST_GATHERED_BYTES = 64 * 2**20
"""Of the batches that are gathered for one compiled loop."""

_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)

# Matrix products and what is fused into them; XLA's convolutions on a processor are slow.
_FASTER_WITH_XLA = (
    keras.Model,
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Multiply,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.Flatten,
    keras.layers.Reshape,
)


class Inputs(NamedTuple):
    """What a step needs.

    Attributes:
        images: `[batch, height, width, channels]`, floating, in [0, 1].
        noise: As the objective draws it.
        sample_weight: `[batch]`, or None.
    """

    images: tf.Tensor
    noise: tf.Tensor
    sample_weight: tf.Tensor | None = None

    @property
    def num_images(self) -> tf.Tensor:
        """A float32 scalar; on each of several replicas, the number of its own images."""
        return tf.cast(tf.shape(self.images)[0], tf.float32)


@dataclasses.dataclass
class LoopChoice:
    """Which loop runs the steps of a model, chosen anew for each `fit`.

    With `"auto"`, a `fit` takes 16 steps per execution unless a callback asks to be called at
    every batch, and has XLA compile them where that was measured to be faster and the steps of
    this `fit` and of those before it are enough to pay for the compilation. The results are the
    same up to rounding, because the noise is drawn outside of what XLA compiles.

    Attributes:
        steps_per_execution: As it was given to `compile`: a number, or `"auto"`.
        jit_compile: As it was given to `compile`: True, False or `"auto"`.
        uses_xla: Whether XLA compiles the training steps, in the compiled loop.
        num_planned_steps: Of all `fit` calls so far.
    """

    steps_per_execution: int | Literal["auto"]
    jit_compile: bool | str
    uses_xla: bool = False
    num_planned_steps: int = 0

    def __post_init__(self):
        if self.steps_per_execution != "auto":
            name = "steps_per_execution, if not 'auto',"
            check_integer(name, self.steps_per_execution, minimum=1)
        if self.jit_compile not in (True, False, "auto"):
            raise InputError(f"jit_compile must be True, False or 'auto'; got {self.jit_compile!r}")

    def prepare_fit(self, model: keras.Model, arguments: dict[str, Any]) -> None:
        """Chooses for a `fit` with these arguments, and lets the model make other functions."""
        if isinstance(self.steps_per_execution, int):
            steps = self.steps_per_execution
        else:
            steps = 1 if _wants_each_batch(arguments.get("callbacks")) else STEPS_PER_EXECUTION
        self.num_planned_steps += num_steps(arguments)
        uses_xla = bool(model.jit_compile) or (
            self.jit_compile == "auto"
            and steps > 1
            and self.num_planned_steps >= FEWEST_STEPS_FOR_XLA
            and _is_faster_with_xla(model)
        )
        if (steps, uses_xla) != (model.steps_per_execution, self.uses_xla):
            model.steps_per_execution, self.uses_xla = steps, uses_xla
            model.train_function = model.test_function = model.predict_function = None


def training_function(model: keras.Model) -> Callable[[Any], dict[str, tf.Tensor]]:
    """What `fit` calls with its iterator, `steps_per_execution` steps at a time."""
    if _overrides(model, "train_step") and not model.is_replicated:
        # Keras's own loop, which shows what such a step returns.
        keras.Model.make_train_function(model, force=True)
        return model.train_function
    uses_xla = model.jit_compile or model.loop.uses_xla
    return _function(model, "train_step", model.update, model.training_noise, uses_xla)


def test_function(model: keras.Model) -> Callable[[Any], dict[str, tf.Tensor]]:
    """What `evaluate` calls with its iterator, `steps_per_execution` steps at a time."""
    if _overrides(model, "test_step") and not model.is_replicated:
        keras.Model.make_test_function(model, force=True)
        return model.test_function
    return _function(model, "test_step", model.log_terms, model.evaluation_noise, model.jit_compile)


def _function(model, step_name, step_on_inputs, seeds, uses_xla):
    step = getattr(model, step_name)
    strategy = model.strategy
    check = FirstBatchCheck(model)
    if uses_xla and strategy.num_replicas_in_sync == 1 and not _overrides(model, step_name):
        run_batches = _compiled_loop(model, step_on_inputs, seeds)
    else:
        run_batches = _general_loop(model, step)

    def steps(iterator, is_unchecked):
        first = iterator.get_next_as_optional()
        is_right = check(first, is_unchecked)
        tf.while_loop(
            lambda count, batch: is_right & (count < model.steps_per_execution) & batch.has_value(),
            lambda count, batch: run_batches(iterator, count, batch),
            (0, first),
        )
        return first.has_value(), model.get_metrics_result()

    def step_on_one_batch(data):
        strategy.run(step, args=(data,))
        return model.get_metrics_result()

    if not model.run_eagerly:
        steps, step_on_one_batch = (
            tf.function(function, reduce_retracing=True, autograph=False)
            for function in (steps, step_on_one_batch)
        )

    def function(iterator):
        if isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
            return check.run(steps, iterator)
        # The one batch of `train_on_batch`, all of which each replica gets.
        (data,) = iterator
        check_images(keras.utils.unpack_x_y_sample_weight(data)[0], model.image_shape)
        return step_on_one_batch(data)

    return function


def _general_loop(model, step):
    def run_batch(iterator, num_done, batch):
        model.strategy.run(step, args=(batch.get_value(),))
        num_done += 1
        return num_done, _next_batch(iterator, batch, num_done < model.steps_per_execution)

    return run_batch


def _compiled_loop(model, step_on_inputs, seeds):
    strategy, most_steps = model.strategy, model.steps_per_execution

    def prepare(batch):
        return strategy.run(model.inputs_of, args=(batch.get_value(), seeds))

    @tf.function(jit_compile=True, autograph=False)
    def run_gathered(count, *gathered):
        def body(index):
            strategy.run(step_on_inputs, args=(Inputs(*(tensor[index] for tensor in gathered)),))
            return (index + 1,)

        return tf.while_loop(lambda index: index < count, body, (0,), parallel_iterations=1)

    def run_equal_batches(iterator, num_done, batch):
        """Runs a batch and those behind it that are of equal size, as far as they fit."""
        first = prepare(batch)
        batch_size = tf.shape(first.images)[0]
        capacity = MOST_GATHERED_BYTES // (tf.size(first.images) * first.images.dtype.size)
        capacity = tf.clip_by_value(capacity, 1, most_steps)
        arrays = [_array_from(tensor, capacity) for tensor in first if tensor is not None]

        def is_equal(count, batch, arrays):
            return tf.cond(
                (count < capacity) & (num_done + count < most_steps) & batch.has_value(),
                lambda: _batch_size(batch.get_value()) == batch_size,
                lambda: False,
            )

        def gather(count, batch, arrays):
            tensors = [tensor for tensor in prepare(batch) if tensor is not None]
            arrays = [array.write(count, x) for array, x in zip(arrays, tensors, strict=True)]
            following = _next_batch(iterator, batch, num_done + count + 1 < most_steps)
            return count + 1, following, arrays

        following = _next_batch(iterator, batch, num_done + 1 < most_steps)
        count, following, arrays = tf.while_loop(is_equal, gather, (1, following, arrays))

        def run_all():
            return run_gathered(count, *(_stack(array, count, capacity) for array in arrays))

        def run_first():
            strategy.run(step_on_inputs, args=(first,))
            return (count,)

        # A batch that stays alone, such as the last and smaller one of an epoch, is not worth a
        # compilation.
        tf.cond((count > 1) | (most_steps == 1), run_all, run_first)
        return num_done + count, following

    return run_equal_batches


def _next_batch(iterator, batch, is_wanted):
    """The batch behind, if it is wanted: one that is taken too early is lost to the next call."""
    return tf.cond(is_wanted, iterator.get_next_as_optional, lambda: batch)


def _is_faster_with_xla(model):
    """Measured on processors: XLA wins in float32, and by networks of matrix products."""
    layers = [*networks.layers_of(model.encoder), *networks.layers_of(model.decoder)]
    return (
        model.strategy.num_replicas_in_sync == 1
        and not model.run_eagerly
        and not _overrides(model, "train_step")
        and type(model.objective) in (objectives.ELBO, objectives.IWAE, objectives.ForwardKL)
        and all(isinstance(layer, _FASTER_WITH_XLA) for layer in layers)
        and all(layer.dtype_policy.compute_dtype == "float32" for layer in layers)
    )


def _overrides(model, step_name):
    """Whether a subclass has a step of its own, and not the one of `VAE`."""
    return not getattr(type(model), step_name).__module__.startswith("tfvae.")


def _wants_each_batch(callbacks):
    """Whether a callback does something before or after each batch of training."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    elif callbacks is not None and not isinstance(callbacks, Sequence):
        callbacks = [callbacks]
    return any(
        getattr(getattr(callback, hook, None), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for callback in callbacks or ()
        # Ours are content with a call per execution, and Keras's own with `save_freq` look at each
        # batch to see that there is nothing to do.
        if not type(callback).__module__.startswith("tfvae.")
        and getattr(callback, "save_freq", None) != "epoch"
        for hook in _BATCH_HOOKS
    )


def _batch_size(data):
    return tf.shape(keras.utils.unpack_x_y_sample_weight(data)[0])[0]


def _array_from(tensor, size):
    array = tf.TensorArray(
        tensor.dtype, size=size, element_shape=tensor.shape, clear_after_read=False
    )
    return array.write(0, tensor)


def _stack(array, count, size):
    """The elements in one tensor, always of the same shape: the first stands in for those missing.

    So XLA compiles one loop, whatever number of steps an epoch leaves for the last execution.
    """
    _, array = tf.while_loop(
        lambda index, array: index < size,
        lambda index, array: (index + 1, array.write(index, array.read(0))),
        (count, array),
    )
    return array.stack()
