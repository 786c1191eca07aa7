"""What a step and `fit` need where several replicas share a batch: Keras under tf.distribute.

A replica is one device with a copy of the model. A strategy gives each of them its part of the
global batch; here the parts become one batch again, in the counts, the gradient and the logs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.fitting.autotuning import untuned

StepFunction = Callable[[Any], Any]

# The gradients of the last layers are on their way while those of the first are computed.
_OPTIONS = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=2 * 2**20)


def sum_over_replicas(value: tf.Tensor | list[tf.Tensor]) -> tf.Tensor | list[tf.Tensor]:
    """The sum of what each replica has, on each replica; the value itself where there is one.

    Args:
        value: Tensors, of the same shapes on each replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value, _OPTIONS)


def mean_over_replicas(
    gradients: Sequence[tf.Tensor | None], weight: tf.Tensor
) -> Sequence[tf.Tensor | None]:
    """The mean of the gradients of the replicas, on each replica; they themselves where one is.

    The weights travel with the gradients, because every exchange has its price.

    Args:
        gradients: Of the mean loss over the images of this replica; None is left alone.
        weight: The number of those images, a scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    # Not the gradient of no images at all, which is not a number.
    weighted = [
        tf.math.multiply_no_nan(tf.convert_to_tensor(gradient), tf.cast(weight, gradient.dtype))
        for gradient in gradients
        if gradient is not None
    ]
    *sums, num_images = sum_over_replicas([*weighted, weight])
    means = iter(total / tf.cast(num_images, total.dtype) for total in sums)
    return [None if gradient is None else next(means) for gradient in gradients]


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes take part, so that what one of them does the others must do too."""
    resolver = strategy.cluster_resolver
    return resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", ())) > 1


class _Unshared:
    """A strategy that hands data sets on as they are, because one replica is given all of them.

    TensorFlow's own has batches pass from thread to thread even then, which costs a small step a
    tenth of its time and more.
    """

    def __init__(self, strategy):
        self._strategy = strategy

    def __getattr__(self, name):
        return getattr(self._strategy, name)

    def experimental_distribute_dataset(self, dataset, options=None):
        return untuned(dataset)


class ReplicatedModel(keras.Model):
    """A Keras model whose training and evaluation also work where Keras's do not.

    Keras 3 fails under a strategy of several replicas with `steps_per_execution` above 1 (its
    optimizer cannot leave the replicas from within a `tf.cond`), with `jit_compile=True` (XLA
    does not reach over devices) and, with several workers, when it reduces its logs (over the
    first axis of scalars). Here one loop takes the place of Keras's: the step runs on the
    replicas, and the logs are read from the metrics once it is done.
    """

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy in whose scope the model was made, else the current one."""
        return super().distribute_strategy

    @property
    def distribute_strategy(self) -> Any:
        """The strategy as Keras is to use it."""
        return self.strategy if self.has_several_replicas else _Unshared(self.strategy)

    @property
    def is_replicated(self) -> bool:
        """Whether the model was made in the scope of a strategy."""
        return self._distribute_strategy is not None

    @property
    def has_several_replicas(self) -> bool:
        """Whether a batch is shared out."""
        return self.strategy.num_replicas_in_sync > 1

    def check_scope(self) -> None:
        """Checks that model and networks were made in the scope that is theirs to be trained in.

        Raises:
            InputError: If they were not.
        """
        strategy = self.strategy
        current = tf.distribute.get_strategy() if tf.distribute.has_strategy() else strategy
        if current is not strategy or not all(
            strategy.extended.variable_created_in_scope(variable.value)
            for variable in self.variables
        ):
            raise InputError(
                "the model or one of its networks was made outside of the strategy's scope, so "
                "the replicas have no copies of it: make encoder, decoder and VAE all in one "
                "`with strategy.scope():`"
            )

    def made_in_scope(self, part: Any) -> Any:
        """An optimizer or objective whose variables each replica has; itself without a strategy.

        So that one which was made outside of the scope can be given to `compile` there, too.

        Args:
            part: Has `get_config` and `from_config`.
        """
        if not self.is_replicated:
            return part
        return type(part).from_config(part.get_config())

    def add_up_first(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Has an optimizer add up the gradients of the replicas before it does anything else.

        Keras's clips the gradient of each replica, and looks for infinities in that of the first
        alone, before it adds them up.

        Args:
            optimizer: Is changed, where there is a strategy.
        """
        if not self.is_replicated:
            return
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables

        def apply(gradients, trainable_variables=None):
            sums = [
                None if gradient is None else sum_over_replicas(gradient) for gradient in gradients
            ]
            type(optimizer).apply(optimizer, sums, trainable_variables)

        optimizer.apply = apply

    def descend(self, gradients: Sequence[tf.Tensor | None], num_images: tf.Tensor) -> None:
        """Takes one step of the optimizer along the gradient of the global batch.

        Args:
            gradients: Of the mean loss over the images of this replica.
            num_images: The number of those.
        """
        means = mean_over_replicas(gradients, num_images)
        # Not the one above, which would add them up once more.
        type(self.optimizer).apply(self.optimizer, means, self.trainable_variables)

    def heavy(self, function: Callable) -> Callable:
        """The same function, compiled by XLA if `jit_compile` was asked for under a strategy.

        Without a strategy Keras compiles the whole step. Under one XLA takes what lies between
        two exchanges of the replicas.
        """
        if self.is_replicated and self.jit_compile:
            return tf.function(function, jit_compile=True, autograph=False)
        return function

    def on_the_replica(self, function: Callable) -> Callable:
        """The same function, run where the variables of a strategy's one replica can be assigned.

        Args:
            function: Of tensors; itself without a strategy.
        """
        if not self.is_replicated:
            return function
        return lambda *tensors: self.strategy.run(function, args=tensors)

    def predict_on_batch(self, x: Any) -> Any:
        """As `predict`: the batch is shared out, where Keras gives each replica all of it."""
        if not self.has_several_replicas:
            return super().predict_on_batch(x)
        return self.predict(x, batch_size=len(x), verbose=0)

    def make_train_function(self, force: bool = False) -> None:
        """Makes what `fit` calls with its iterator, `steps_per_execution` steps at a time."""
        if not self.is_replicated:
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = self._steps_on_replicas(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        """Makes what `evaluate` calls with its iterator."""
        if not self.is_replicated:
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._steps_on_replicas(self.test_step)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras would take a batch to build a model that is built, and average its uneven parts.
        pass

    def _steps_on_replicas(self, step: StepFunction) -> StepFunction:
        strategy = self.strategy
        most_steps = self.steps_per_execution

        def steps(iterator):
            def run(count, batch):
                strategy.run(step, args=(batch.get_value(),))
                # Not one batch further than the last step: it would be lost to the next call.
                following = tf.cond(
                    count + 1 < most_steps, iterator.get_next_as_optional, lambda: batch
                )
                return count + 1, following

            def goes_on(count, batch):
                return tf.logical_and(count < most_steps, batch.has_value())

            first = iterator.get_next_as_optional()
            count, _ = tf.while_loop(goes_on, run, (tf.constant(0), first))
            return count, self.get_metrics_result()

        def step_on_the_whole(data):
            strategy.run(step, args=(data,))
            return self.get_metrics_result()

        if not self.run_eagerly:
            steps = tf.function(steps, reduce_retracing=True, autograph=False)
            step_on_the_whole = tf.function(
                step_on_the_whole, reduce_retracing=True, autograph=False
            )

        def function(iterator):
            if isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
                count, logs = steps(iterator)
                if not count:
                    raise StopIteration
                return logs
            for data in iterator:  # Of `train_on_batch`: one, and each replica gets all of it.
                logs = step_on_the_whole(data)
            return logs

        return function
