import numpy as np
import pytest
import tensorflow as tf

from tfvae.distributions import importance

WEIGHTS = np.array([[0.5, 0.05, 1], [0.125, 0.9, 0], [0.375, 0.05, 0]])


def log_weights(num_samples, batch=3):
    """Log-weights of a size whose exponentials a float64 cannot hold."""
    return np.random.default_rng(0).normal(size=(num_samples, batch)) - 5000.0


def test_mean_weight_its_error_and_the_effective_sample_size_are_those_of_the_definition():
    sums = importance.sum_weights(tf.constant(log_weights(50)))
    weights = np.exp(log_weights(50) + 5000)
    log_mean = np.log(weights.mean(axis=0)) - 5000
    np.testing.assert_allclose(importance.log_mean(sums, num_samples=50), log_mean)
    np.testing.assert_allclose(importance.log_mean_weight(log_weights(50)), log_mean)
    np.testing.assert_allclose(
        importance.standard_error(sums, num_samples=50),
        weights.std(axis=0, ddof=1) / np.sqrt(50) / weights.mean(axis=0),
    )
    np.testing.assert_allclose(
        importance.effective_sample_size(sums),
        weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0),
    )


def test_sums_over_parts_of_the_samples_add_up():
    whole = log_weights(50)
    parts = [importance.sum_weights(tf.constant(part)) for part in (whole[:20], whole[20:])]
    together = importance.sum_weights(tf.constant(whole))
    np.testing.assert_allclose(importance.add_sums(*parts), together)
    # Weights of 0 change nothing, not even when there is nothing else.
    nothing = importance.WeightSums(*2 * [tf.fill([3], np.float64(-np.inf))])
    np.testing.assert_array_equal(importance.add_sums(nothing, together), together)
    np.testing.assert_array_equal(importance.add_sums(nothing, nothing), nothing)


def test_equal_weights_have_no_error_and_a_single_one_an_infinite_error():
    equal = importance.sum_weights(tf.fill([7, 2], -3.0))
    np.testing.assert_allclose(importance.standard_error(equal, num_samples=7), [0, 0], atol=1e-3)
    np.testing.assert_allclose(importance.effective_sample_size(equal), [7, 7], rtol=1e-5)
    single = importance.sum_weights(tf.fill([1, 2], -3.0))
    np.testing.assert_array_equal(importance.standard_error(single, num_samples=1), [np.inf] * 2)


def test_samples_come_up_in_proportion_to_their_weights():
    """Starts on a fine grid stand for uniform ones: exact to the width of its cells."""
    grid = np.linspace(0, 1, 1000, endpoint=False) + 0.0005
    for weights in WEIGHTS.T:
        chosen = importance.systematic_resampling(
            np.tile(weights[:, np.newaxis], 1000), starts=grid, num_resampled=4
        ).numpy()
        assert np.all(np.diff(chosen, axis=0) >= 0)
        counts = np.array([np.sum(chosen == sample, axis=0) for sample in range(3)])
        np.testing.assert_allclose(counts.mean(axis=1), 4 * weights, atol=0.005)
        assert np.all(np.abs(counts - 4 * weights[:, np.newaxis]) < 1)


@pytest.mark.parametrize("start", [1e-30, 0.5, 1.0])
def test_a_sample_without_weight_is_never_taken(start):
    weights = np.zeros([12, 2], np.float32)
    weights[1:11, 0] = 0.0999999  # of a sum a little below 1, as by rounding
    weights[5, 1] = 1
    chosen = importance.systematic_resampling(
        weights, starts=np.full(2, start, np.float32), num_resampled=3
    ).numpy()
    assert 1 <= np.min(chosen[:, 0]) <= np.max(chosen[:, 0]) <= 10
    np.testing.assert_array_equal(chosen[:, 1], 5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("num_samples", "num_resampled"), [(50, 5), (200, 7)])
def test_the_last_mark_is_that_of_a_sample_when_compiled(num_samples, num_resampled, jit_compile):
    """Compiled, the products that make the marks are rounded in another order."""
    weights = tf.nn.softmax(
        4 * tf.random.stateless_normal([num_samples, 4000], seed=(0, 1)), axis=0
    )
    systematic = tf.function(importance.systematic_resampling, jit_compile=jit_compile)
    for start in (1.0, 1 - 2**-24):
        chosen = systematic(weights, starts=tf.fill([4000], start), num_resampled=num_resampled)
        assert np.max(chosen) < num_samples
        assert np.min(importance.take(weights, chosen=chosen)) > 0


def test_one_sample_of_many_alike_may_be_any():
    starts = np.linspace(0, 1, 7, endpoint=False) + 0.5 / 7
    chosen = importance.systematic_resampling(
        np.full([7, 7], 1 / 7), starts=starts, num_resampled=1
    )
    np.testing.assert_array_equal(chosen, [np.arange(7)])


def test_samples_are_taken_for_each_element_with_their_gradient():
    samples = tf.reshape(tf.range(12.0), [3, 2, 2])
    chosen = tf.constant([[0, 2], [2, 2]])
    with tf.GradientTape() as tape:
        tape.watch(samples)
        taken = importance.take(samples, chosen=chosen)
    np.testing.assert_array_equal(taken, [[[0, 1], [10, 11]], [[8, 9], [10, 11]]])
    gradient = tf.convert_to_tensor(tape.gradient(taken, samples))
    np.testing.assert_array_equal(gradient[..., 0], [[1, 0], [0, 0], [1, 2]])
