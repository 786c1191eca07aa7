import numpy as np
import tensorflow as tf

from tfvae.fitting.metrics import TermMeans
from tfvae.objectives import Terms


def terms(reconstruction, kl):
    reconstruction, kl = tf.constant(reconstruction), tf.constant(kl)
    return Terms(reconstruction - 0.5 * kl, reconstruction=reconstruction, kl=kl)


def test_means_are_over_images_not_over_batches():
    means = TermMeans()
    means.update_state(terms([-10.0, -20.0, -30.0], [1.0, 2.0, 3.0]), loss=tf.constant(21.0))
    means.update_state(terms([-100.0], [10.0]), loss=tf.constant(105.0))
    result = means.result()
    np.testing.assert_allclose(result["reconstruction"], -40.0)
    np.testing.assert_allclose(result["kl"], 4.0)
    np.testing.assert_allclose(result["elbo"], -44.0)
    np.testing.assert_allclose(result["loss"], (3 * 21 + 105) / 4)


def test_sample_weights_weight_the_plain_quantities():
    means = TermMeans()
    batch = terms([-10.0, -20.0], [1.0, 2.0])
    means.update_state(batch, loss=tf.constant(9.0), sample_weight=tf.constant([3.0, 1.0]))
    np.testing.assert_allclose(means.result()["elbo"], (3 * -11 + -22) / 4)
    np.testing.assert_allclose(means.result()["loss"], 9.0)


def test_nothing_seen_is_zero_and_reset_forgets():
    means = TermMeans()
    means.update_state(terms([-10.0], [1.0]), loss=tf.constant(9.0))
    means.reset_state()
    assert all(float(value) == 0 for value in means.result().values())
