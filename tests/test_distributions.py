import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from tfvae import distributions

tfd = tfp.distributions


def test_zeros_from_the_encoder_are_the_prior():
    posterior = distributions.factorial_normal(tf.zeros([3, 8]))
    kl = tfd.kl_divergence(posterior, distributions.standard_normal(4))
    np.testing.assert_allclose(kl, np.zeros(3), atol=1e-6)


def test_locations_come_first_then_scales():
    posterior = distributions.factorial_normal(tf.constant([[1.0, 2.0, -30.0, 30.0]]))
    np.testing.assert_array_equal(posterior.mean(), [[1.0, 2.0]])
    np.testing.assert_allclose(posterior.stddev(), [[1e-6, 30.5413]], rtol=1e-5)


@pytest.mark.parametrize("scale", [-1e4, -100.0, 1e6])
def test_extreme_scales_stay_finite_with_their_gradients(scale):
    parameters = tf.Variable([[0.5, scale]])
    with tf.GradientTape() as tape:
        posterior = distributions.factorial_normal(parameters)
        kl = tfd.kl_divergence(posterior, distributions.standard_normal(1))
    assert np.isfinite(kl).all()
    assert np.isfinite(tape.gradient(kl, parameters)).all()


def test_half_precision_is_cast_up():
    assert distributions.factorial_normal(tf.zeros([1, 4], tf.bfloat16)).dtype == tf.float32
    assert distributions.factorial_bernoulli(tf.zeros([1, 2, 2, 1], tf.float16)).dtype == tf.float32


def test_likelihood_of_zero_logits_is_exactly_log_2_a_pixel():
    likelihood = distributions.factorial_bernoulli(tf.zeros([1, 28, 28, 1], tf.float64), tf.float64)
    images = tf.cast(tf.random.stateless_uniform([1, 28, 28, 1], [1, 2]) < 0.5, tf.float64)
    np.testing.assert_allclose(likelihood.log_prob(images), [-784 * np.log(2)], rtol=1e-14)


@given(
    logits=hypothesis_numpy.arrays(np.float64, 4, elements=st.floats(-1e4, 1e4)),
    images=hypothesis_numpy.arrays(np.float64, 4, elements=st.floats(0, 1)),
)
def test_bernoulli_agrees_with_tfp_for_logits_of_any_size(logits, images):
    logits = tf.constant(logits)
    ours = distributions.Bernoulli(logits=logits).log_prob(images)
    theirs = tfd.Bernoulli(logits=logits).log_prob(images)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_bernoulli_gradient_is_the_residual():
    logits = tf.Variable([-1e4, -3.0, 0.0, 3.0, 1e4])
    images = tf.constant([1.0, 0.0, 1.0, 0.25, 0.0])
    with tf.GradientTape() as tape:
        log_prob = distributions.Bernoulli(logits=logits).log_prob(images)
    expected = images - tf.math.sigmoid(logits)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), expected, atol=1e-6)
    assert np.isfinite(log_prob).all()


def test_pixels_are_sampled_as_zeros_and_ones_at_their_frequency():
    probability, count = 0.3, 40_000
    logits = tf.fill([1, 1, 1, 1], np.log(probability / (1 - probability)))
    pixels = distributions.factorial_bernoulli(logits).sample(count, seed=(0, 0)).numpy()
    assert set(np.unique(pixels)) == {0.0, 1.0}
    standard_error = np.sqrt(probability * (1 - probability) / count)
    assert abs(pixels.mean() - probability) < 4 * standard_error


def test_prior_has_no_trainable_variable():
    assert distributions.standard_normal(5).trainable_variables == ()
    assert distributions.standard_normal(5).event_shape == (5,)
