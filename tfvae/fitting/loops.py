"""How many steps `fit` takes between two looks of Keras, and whether XLA compiles them.

Keras calls a function of the iterator, `steps_per_execution` steps at a time. Where XLA is to run
the steps, the batches and their noise are gathered first, and one compiled loop goes over them: XLA
wins on small steps by what it saves between them, and would lose that again if each were called.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae import objectives
from tfvae.common.errors import InputError
from tfvae.fitting.arguments import steps_of_fit
from tfvae.fitting.replicas import ReplicatedModel

STEPS_PER_EXECUTION = 16
"""Enough that what Keras does between two executions is not felt."""

FEWEST_STEPS_FOR_XLA = 1000
"""A compilation takes about as long as it saves in so many steps."""

_MOST_BYTES = 64 * 2**20
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
    def tensors(self) -> list[tf.Tensor]:
        """Those that are there, which make the same `Inputs` again."""
        return [tensor for tensor in self if tensor is not None]


class LoopedModel(ReplicatedModel, abc.ABC):
    """A Keras model that takes several steps in one compiled loop.

    With `"auto"`, for `compile(steps_per_execution=..., jit_compile=...)`, each `fit` decides: it
    takes 16 steps an execution unless a callback asks to be called at every batch, and has XLA
    compile them where that was measured to be faster and there are enough of them to pay for it.
    The results are the same up to rounding, because the noise is drawn outside of what XLA sees.
    """

    @abc.abstractmethod
    def prepare(self, data: Any, noise: keras.random.SeedGenerator) -> Inputs:
        """What a step needs of a batch of data, the noise drawn."""

    @abc.abstractmethod
    def train_on(self, inputs: Inputs) -> None:
        """Takes one step, and updates the metrics."""

    @abc.abstractmethod
    def test_on(self, inputs: Inputs) -> None:
        """Updates the metrics."""

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step up the gradient of the objective on a batch."""
        self.train_on(self.prepare(data, self.training_noise))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The terms of the objective on a batch."""
        self.test_on(self.prepare(data, self.evaluation_noise))
        return self.get_metrics_result()

    def compile(
        self,
        *,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """As Keras's; `steps_per_execution` may be `"auto"` too.

        Args:
            steps_per_execution: How many steps are taken between two calls of callbacks.
            jit_compile: Whether XLA compiles the steps.
            **kwargs: As in Keras.

        Raises:
            InputError: If `steps_per_execution` or `jit_compile` is neither `"auto"` nor possible.
        """
        is_count = isinstance(steps_per_execution, int) and not isinstance(
            steps_per_execution, bool
        )
        if steps_per_execution != "auto" and not (is_count and steps_per_execution > 0):
            raise InputError(
                "steps_per_execution must be an integer of at least 1, or 'auto'; got "
                f"{steps_per_execution!r}"
            )
        if jit_compile not in (True, False, "auto"):
            raise InputError(f"jit_compile must be True, False or 'auto'; got {jit_compile!r}")
        self._asked = {"steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
        self._has_xla_loop = False
        super().compile(
            steps_per_execution=1 if steps_per_execution == "auto" else steps_per_execution,
            jit_compile=jit_compile,
            **kwargs,
        )

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, `"auto"` where that was asked for."""
        config = super().get_compile_config()
        return config and config | self._asked

    def choose_loop(self, arguments: dict[str, Any]) -> None:
        """Decides, where that is left open, how the steps of a `fit` are run.

        Args:
            arguments: Of `fit`, by name.
        """
        steps = self._asked["steps_per_execution"]
        if steps == "auto":
            callbacks = arguments.get("callbacks")
            steps = 1 if _any_wants_each_batch(callbacks) else STEPS_PER_EXECUTION
        has_xla_loop = self.jit_compile or (
            self._asked["jit_compile"] == "auto"
            and steps > 1
            and self._is_faster_with_xla()
            and steps_of_fit(arguments) >= FEWEST_STEPS_FOR_XLA
        )
        if (steps, has_xla_loop) != (self.steps_per_execution, self._has_xla_loop):
            self.steps_per_execution, self._has_xla_loop = steps, has_xla_loop
            self.train_function = self.test_function = self.predict_function = None

    def make_train_function(self, force: bool = False) -> None:
        """Makes what `fit` calls with its iterator, `steps_per_execution` steps at a time."""
        has_own_step = type(self).train_step is not LoopedModel.train_step
        if (
            self.has_several_replicas
            or has_own_step
            or not (self.jit_compile or self._has_xla_loop)
        ):
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = self._steps_in_xla(
                self.train_step, self.train_on, self.training_noise
            )

    def make_test_function(self, force: bool = False) -> None:
        """Makes what `evaluate` calls with its iterator."""
        has_own_step = type(self).test_step is not LoopedModel.test_step
        if self.has_several_replicas or has_own_step or not self.jit_compile:
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._steps_in_xla(
                self.test_step, self.test_on, self.evaluation_noise
            )

    def _is_faster_with_xla(self):
        """Measured on processors: in float32, by networks of matrix products."""
        layers = list(self._flatten_layers(include_self=False))
        return (
            not self.has_several_replicas
            and not self.run_eagerly
            and type(self).train_step is LoopedModel.train_step
            and type(self.objective) in (objectives.ELBO, objectives.IWAE, objectives.ForwardKL)
            and all(isinstance(layer, _FASTER_WITH_XLA) for layer in layers)
            and all(layer.dtype_policy.compute_dtype == "float32" for layer in layers)
        )

    def _steps_in_xla(
        self,
        step: Callable[[Any], dict[str, tf.Tensor]],
        step_on: Callable[[Inputs], None],
        noise: keras.random.SeedGenerator,
    ) -> Callable[[Any], dict[str, tf.Tensor]]:
        most_steps = self.steps_per_execution
        prepare = self.on_the_replica(lambda data: self.prepare(data, noise))
        step, step_on = self.on_the_replica(step), self.on_the_replica(step_on)

        @tf.function(jit_compile=True, autograph=False)
        def loop(count, stacked):
            def body(index):
                step_on(Inputs(*(tensor[index] for tensor in stacked)))
                return (index + 1,)

            return tf.while_loop(lambda index: index < count, body, (0,), parallel_iterations=1)

        @tf.function(reduce_retracing=True, autograph=False)
        def step_on_one(data):
            return step(data)

        @tf.function(reduce_retracing=True, autograph=False)
        def steps(iterator):
            def following(done, batch):
                # Not one batch further than the last step: it would be lost to the next call.
                return tf.cond(done < most_steps, iterator.get_next_as_optional, lambda: batch)

            def take_equal_batches(done, batch):
                first = prepare(batch.get_value())
                batch = following(done + 1, batch)
                room = tf.clip_by_value(_MOST_BYTES // _num_bytes(first.images), 1, most_steps)
                arrays = [_array_from(tensor, room) for tensor in first.tensors]

                def is_equal(count, batch, arrays):
                    return tf.cond(
                        (count < room) & (done + count < most_steps) & batch.has_value(),
                        lambda: _batch_size(batch.get_value()) == tf.shape(first.images)[0],
                        lambda: False,
                    )

                def add(count, batch, arrays):
                    tensors = prepare(batch.get_value()).tensors
                    arrays = [
                        array.write(count, tensor)
                        for array, tensor in zip(arrays, tensors, strict=True)
                    ]
                    return count + 1, following(done + count + 1, batch), arrays

                count, batch, arrays = tf.while_loop(is_equal, add, (1, batch, arrays))

                def run_all():
                    return loop(count, [_stack(array, count, room) for array in arrays])

                def run_first():
                    step_on(first)
                    return (count,)

                # A batch that stays alone, such as the last and smaller one of an epoch, is not
                # worth a compilation.
                tf.cond((count > 1) | (most_steps == 1), run_all, run_first)
                return done + count, batch

            done, _ = tf.while_loop(
                lambda done, batch: (done < most_steps) & batch.has_value(),
                take_equal_batches,
                (0, iterator.get_next_as_optional()),
            )
            return done, self.get_metrics_result()

        def function(iterator):
            if isinstance(iterator, tf.data.Iterator):
                done, logs = steps(iterator)
                if not done:
                    raise StopIteration
                return logs
            for data in iterator:  # Of `train_on_batch`: one.
                logs = step_on_one(data)
            return logs

        return function


def _any_wants_each_batch(callbacks):
    """Whether a callback does something before or after each batch of training."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    elif callbacks is not None and not isinstance(callbacks, Sequence):
        callbacks = [callbacks]
    return any(
        getattr(getattr(callback, hook, None), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for callback in callbacks or ()
        # Keras's own, which look at each batch to see that there is nothing to do.
        if getattr(callback, "save_freq", None) != "epoch"
        for hook in _BATCH_HOOKS
    )


def _batch_size(data):
    return tf.shape(keras.utils.unpack_x_y_sample_weight(data)[0])[0]


def _num_bytes(tensor):
    return tf.size(tensor) * tensor.dtype.size


def _array_from(tensor, size):
    array = tf.TensorArray(
        tensor.dtype, size=size, element_shape=tensor.shape, clear_after_read=False
    )
    return array.write(0, tensor)


def _stack(array, count, size):
    """The elements in one tensor, always of the same shape: the first stands in for those missing.

    So that XLA compiles one loop, whatever number of steps an epoch leaves for the last execution.
    """
    _, array = tf.while_loop(
        lambda index, array: index < size,
        lambda index, array: (index + 1, array.write(index, array.read(0))),
        (count, array),
    )
    return array.stack()
