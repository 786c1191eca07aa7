import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from tfvae.distributions import factorial as distributions

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
    logits=hypothesis_numpy.arrays(np.float64, 12, elements=st.floats(-1e4, 1e4)),
    images=hypothesis_numpy.arrays(np.float64, 12, elements=st.floats(0, 1)),
    image_shape=st.sampled_from([(3, 4, 1), (2, 2, 3), (1, 1, 12)]),
)
def test_log_prob_is_that_of_tfp_for_logits_of_any_size(logits, images, image_shape):
    logits, images = (tf.reshape(values, [1, *image_shape]) for values in (logits, images))
    ours = distributions.factorial_bernoulli(logits, tf.float64).log_prob(images)
    theirs = tfd.Independent(tfd.Bernoulli(logits=logits), 3).log_prob(images)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("image_batch", "logit_batch"), [([3], [3]), ([3], [4, 3]), ([], [2]), ([5, 2], []), ([1], [4])]
)
def test_log_prob_and_its_gradients_broadcast(image_batch, logit_batch):
    generator = np.random.default_rng(0)
    images = tf.constant(generator.integers(0, 2, [*image_batch, 5, 3, 1]).astype("float64"))
    logits = tf.constant(generator.normal(size=[*logit_batch, 5, 3, 1], scale=4.0))
    results = []
    for kind in (distributions.FactorialBernoulli, lambda x: tfd.Independent(tfd.Bernoulli(x), 3)):
        with tf.GradientTape() as tape:
            tape.watch([images, logits])
            log_prob = tf.square(kind(logits).log_prob(images))
        results.append([log_prob, *tape.gradient(log_prob, [images, logits])])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_float32_is_as_exact_as_tfp():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(100, 28, 28, 1), scale=8.0).astype("float32")
    images = generator.integers(0, 2, size=(1, 28, 28, 1)).astype("float32")
    truth = tfd.Independent(tfd.Bernoulli(logits=tf.cast(logits, tf.float64)), 3).log_prob(images)
    theirs = tfd.Independent(tfd.Bernoulli(logits=logits), 3).log_prob(images)
    ours = distributions.factorial_bernoulli(logits).log_prob(images)
    errors = [np.abs(result - truth.numpy()).mean() for result in (ours, theirs)]
    assert errors[0] < 2 * errors[1]


@pytest.mark.parametrize("pixel", [0.0, 0.25, 1.0])
def test_gradient_is_the_residual_everywhere(pixel):
    logits = tf.constant([-1e4, -20.0, -1.0, 0.0, 1e-9, 1.0, 20.0, 1e4, 0.5, 0.0], tf.float64)
    logits = tf.reshape(logits, [10, 1, 1])
    images = tf.fill([10, 1, 1], tf.constant(pixel, tf.float64))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = distributions.factorial_bernoulli(logits, tf.float64).log_prob(images)
    assert np.isfinite(log_prob)
    expected = pixel - tf.sigmoid(logits)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), expected, atol=1e-15)


def test_likelihood_is_a_whole_distribution():
    likelihood = distributions.factorial_bernoulli(tf.random.stateless_normal([6, 5, 4, 1], [0, 1]))
    assert likelihood.event_shape == (5, 4, 1)
    assert likelihood[:2].batch_shape == (2,)
    assert likelihood.copy(logits=tf.zeros([3, 5, 4, 1])).batch_shape == (3,)
    plain = tfd.Independent(tfd.Bernoulli(likelihood.distribution.logits), 3)
    np.testing.assert_allclose(likelihood.entropy(), plain.entropy(), rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(), plain.mean())


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
