import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import backpropagation

tfd = tfp.distributions


def test_latents_keep_their_value_and_get_a_weighted_gradient():
    latents = tf.reshape(tf.range(6.0), [3, 1, 2])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        same = backpropagation.with_gradient_times(latents, lambda: weights)
        # Known only after the latents were used, as importance weights are.
        weights = tf.constant([[0.5], [2.0], [0.0]])
        total = tf.reduce_sum(same**2)
    np.testing.assert_array_equal(same, latents)
    np.testing.assert_allclose(
        tape.gradient(total, latents), 2 * latents * weights[..., tf.newaxis], rtol=1e-6
    )


def test_value_and_gradient_may_be_of_different_tensors():
    x = tf.constant(0.1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = backpropagation.with_gradient_of(x**3, 1e6 * x)
    assert y == x**3
    assert tape.gradient(y, x) == 1e6


def test_no_gradient_reaches_the_parameters_of_a_stopped_distribution():
    loc = tf.constant([0.5])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(loc)
        normal = tfd.Independent(tfd.Normal(loc, 1.0), 1)
        log_prob = normal.log_prob([2.0])
        stopped = backpropagation.without_gradient(normal).log_prob([2.0])
    assert log_prob == stopped
    assert tape.gradient(log_prob, loc) == 1.5
    assert tape.gradient(stopped, loc) is None
