"""Training on several replicas: Keras under tf.distribute.

A replica is one device with a copy of the model. A strategy gives each replica its part of the
global batch; here the parts become one batch again, in the counts, the gradient and the logs.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae.common.errors import InputError

# Gradients are sent in packs of 2 MB, so that sending those of the last layers overlaps with
# computing those of the first.
_OPTIONS = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=2 * 2**20)


def sum_over_replicas(value: tf.Tensor | list[tf.Tensor]) -> tf.Tensor | list[tf.Tensor]:
    """The sum of what each replica has, on each replica; the value itself where there is one."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value, _OPTIONS)


def mean_gradients(
    gradients: Sequence[tf.Tensor | None], weight: tf.Tensor
) -> Sequence[tf.Tensor | None]:
    """The mean of the gradients of all replicas, on each replica; themselves where there is one.

    The weights travel with the gradients, because every exchange has its price.

    Args:
        gradients: Of the mean loss over the images of this replica; None is left alone.
        weight: The number of those images, a scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    # The gradient of no images at all is not a number, and must not count.
    weighted = [
        tf.math.multiply_no_nan(tf.convert_to_tensor(gradient), tf.cast(weight, gradient.dtype))
        for gradient in gradients
        if gradient is not None
    ]
    *sums, total_weight = sum_over_replicas([*weighted, weight])
    means = iter(total / tf.cast(total_weight, total.dtype) for total in sums)
    return [None if gradient is None else next(means) for gradient in gradients]


def sum_gradients_first(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets an optimizer be given gradients that are those of all replicas already.

    Keras's optimizers add up the gradients of the replicas late: they clip the gradient of each
    replica, and look for infinities in that of the first replica alone. Within the block
    `gradients_of_all_replicas(optimizer)` this optimizer does not add them up again.

    This replaces a private method of Keras, the one place where its optimizers add up gradients;
    tests/fitting/test_replicas.py compares the result with that of one device.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    add_up = inner._all_reduce_sum_gradients

    def add_up_unless_done(gradients_and_variables):
        if getattr(optimizer, "has_gradients_of_all_replicas", False):
            return gradients_and_variables
        return add_up(gradients_and_variables)

    inner._all_reduce_sum_gradients = add_up_unless_done


@contextlib.contextmanager
def gradients_of_all_replicas(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Tells an optimizer that what it is given in the block are the gradients of all replicas.

    The replicas are threads that take turns, and only where all of them meet: no replica leaves
    the block before all have passed the place where the optimizer asks.
    """
    optimizer.has_gradients_of_all_replicas = True
    try:
        yield
    finally:
        optimizer.has_gradients_of_all_replicas = False


def compiled_between_exchanges(method: Callable) -> Callable:
    """Has XLA compile a method of a model where `jit_compile` is asked for under a strategy.

    Without a strategy XLA compiles the whole step. Under a strategy it does not reach over
    devices, and takes what lies between two exchanges of the replicas.
    """

    @functools.wraps(method)
    def call(model, *args, **kwargs):
        function = functools.partial(method, model, **kwargs)
        if model.is_replicated and model.jit_compile:
            function = tf.function(function, jit_compile=True, autograph=False)
        return function(*args)

    return call


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes take part, so that what one of them does the others must do too."""
    resolver = strategy.cluster_resolver
    return resolver is not None and len(resolver.cluster_spec().as_dict().get("worker", ())) > 1


def check_scope(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Raises `InputError` if a model or its networks were made outside of the strategy's scope."""
    current = tf.distribute.get_strategy() if tf.distribute.has_strategy() else strategy
    if current is not strategy or not all(
        strategy.extended.variable_created_in_scope(variable.value) for variable in model.variables
    ):
        raise InputError(
            "the model or one of its networks was made outside of the strategy's scope, so the "
            "replicas have no copies of it: make encoder, decoder and VAE all in one "
            "`with strategy.scope():`"
        )


def made_again(part: Any) -> Any:
    """An equal optimizer or objective, whose variables belong to the scope that is current."""
    return type(part).from_config(part.get_config())
