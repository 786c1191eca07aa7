import numpy as np
import pytest
import tensorflow as tf

from tfvae import resampling

WEIGHTS = np.array([[0.5, 0.05, 1], [0.125, 0.9, 0], [0.375, 0.05, 0]])


def test_samples_come_up_in_proportion_to_their_weights():
    """Starts on a fine grid stand for uniform ones: exact to the width of its cells."""
    grid = np.linspace(0, 1, 1000, endpoint=False) + 0.0005
    for weights in WEIGHTS.T:
        chosen = resampling.systematic(np.tile(weights[:, np.newaxis], 1000), grid, 4).numpy()
        assert np.all(np.diff(chosen, axis=0) >= 0)
        counts = np.array([np.sum(chosen == sample, axis=0) for sample in range(3)])
        np.testing.assert_allclose(counts.mean(axis=1), 4 * weights, atol=0.005)
        assert np.all(np.abs(counts - 4 * weights[:, np.newaxis]) < 1)


@pytest.mark.parametrize("start", [1e-30, 0.5, 1.0])
def test_a_sample_without_weight_is_never_taken(start):
    weights = np.zeros([12, 2], np.float32)
    weights[1:11, 0] = 0.0999999  # of a sum a little below 1, as by rounding
    weights[5, 1] = 1
    chosen = resampling.systematic(weights, np.full(2, start, np.float32), 3).numpy()
    assert 1 <= np.min(chosen[:, 0]) <= np.max(chosen[:, 0]) <= 10
    np.testing.assert_array_equal(chosen[:, 1], 5)


def test_one_sample_of_many_alike_may_be_any():
    starts = np.linspace(0, 1, 7, endpoint=False) + 0.5 / 7
    chosen = resampling.systematic(np.full([7, 7], 1 / 7), starts, 1)
    np.testing.assert_array_equal(chosen, [np.arange(7)])


def test_samples_are_taken_for_each_element_with_their_gradient():
    samples = tf.reshape(tf.range(12.0), [3, 2, 2])
    chosen = tf.constant([[0, 2], [2, 2]])
    with tf.GradientTape() as tape:
        tape.watch(samples)
        taken = resampling.take(samples, chosen)
    np.testing.assert_array_equal(taken, [[[0, 1], [10, 11]], [[8, 9], [10, 11]]])
    gradient = tf.convert_to_tensor(tape.gradient(taken, samples))
    np.testing.assert_array_equal(gradient[..., 0], [[1, 0], [0, 0], [1, 2]])
