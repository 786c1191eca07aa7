"""Keras's Adam with TensorFlow's own fused kernel under it."""

import functools

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfvae")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW that leaves biases and the normalisations' shifts and scales as they are.

    With Keras's own that is set by a method, and forgotten where the optimizer is saved or made
    again for a strategy. Nothing speaks for a bias near 0: that of a pixel which is always black is
    far from it.

    Args:
        *args: As of Keras's AdamW.
        **kwargs: As of Keras's AdamW.

    References:
        Loshchilov and Hutter. Decoupled Weight Decay Regularization. 2017. arXiv:1711.05101.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.exclude_from_weight_decay(var_names=[r"\b(?:bias|gamma|beta)(?::0)?$"])


def fuse(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Makes a Keras Adam update each variable in one pass over memory instead of about ten.

    The numbers are those of Keras up to rounding; on a processor, where the update of a small
    network is bound by memory, a training step takes about half the time. The optimizer stays the
    object that it was, with its name, config and state, so it is saved and loaded as ever. Other
    optimizers are left alone, as is AMSGrad.

    Args:
        optimizer: Any Keras optimizer.

    Returns:
        The same optimizer.

    References:
        Kingma and Ba. Adam: A Method for Stochastic Optimization. 2014. arXiv:1412.6980.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    is_adam = getattr(type(inner), "update_step", None) is keras.optimizers.Adam.update_step
    if is_adam and not inner.amsgrad:
        inner.update_step = functools.partial(_fused_adam_step, inner)
    return optimizer


def _fused_adam_step(adam, gradient, variable, learning_rate):
    if isinstance(gradient, tf.IndexedSlices):
        return keras.optimizers.Adam.update_step(adam, gradient, variable, learning_rate)
    dtype = variable.dtype
    index = adam._get_variable_index(variable)
    step = tf.cast(adam.iterations + 1, dtype)
    return tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=adam._momentums[index].value.handle,
        v=adam._velocities[index].value.handle,
        beta1_power=tf.pow(tf.cast(adam.beta_1, dtype), step),
        beta2_power=tf.pow(tf.cast(adam.beta_2, dtype), step),
        lr=tf.cast(learning_rate, dtype),
        beta1=tf.cast(adam.beta_1, dtype),
        beta2=tf.cast(adam.beta_2, dtype),
        epsilon=tf.cast(adam.epsilon, dtype),
        grad=tf.cast(gradient, dtype),
    )
