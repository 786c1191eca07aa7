import numpy as np
import pytest
import tensorflow as tf
from quadrature import all_images, fitted_example, tiny_example, tiny_vae

import tfvae
from tfvae.common.errors import InputError
from tfvae.inference.batched_estimates import encode_in_batches

LOGITS_PER_PASS = "tfvae.inference.batched_estimates._LOGITS_PER_PASS"


def test_estimates_do_not_depend_on_the_passes(monkeypatch):
    # What is summed differs with the passes, what is estimated does not.
    vae, images, exact = tiny_example(2)
    for logits in (9 * 4, 9 * 64, 9 * 1000):
        monkeypatch.setattr(LOGITS_PER_PASS, logits)
        estimate = tfvae.log_likelihood(vae, images, num_samples=333, seed=3, diagnostics=True)
        error = np.abs(estimate.log_likelihood - exact.log_likelihood) / estimate.standard_error
        assert np.max(error) < 3.5


def test_number_of_samples_is_kept(monkeypatch):
    # q = p(Z|x) = p(Z) for a decoder that ignores z: all weights are p(x), and K of them count.
    vae = tiny_vae(1)
    for network in (vae.encoder, vae.decoder):
        network.set_weights([np.zeros_like(weights) for weights in network.get_weights()])
    monkeypatch.setattr(LOGITS_PER_PASS, 9 * 7)
    estimate = tfvae.log_likelihood(vae, all_images()[:3], num_samples=101, diagnostics=True)
    np.testing.assert_allclose(estimate.log_likelihood, -9 * np.log(2), atol=1e-4)
    np.testing.assert_allclose(estimate.effective_sample_size, 101, rtol=1e-3)


def test_data_set_gives_all_results_in_order_and_shows_its_progress(capsys):
    vae, images, exact = tiny_example(1)
    images = np.tile(images, (5, 1, 1, 1))
    tfvae.log_likelihood(vae, images, num_samples=500, seed=0)
    assert capsys.readouterr().err == ""
    batches = tf.data.Dataset.from_tensor_slices((images, np.arange(20))).batch(8)
    estimate = tfvae.log_likelihood(vae, batches, num_samples=500, seed=0, diagnostics=True)
    assert "100%" in capsys.readouterr().err
    assert estimate.log_likelihood.shape == (20,)
    error = estimate.log_likelihood - np.tile(exact.log_likelihood, 5)
    assert np.max(np.abs(error) / estimate.standard_error) < 4


@pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
@pytest.mark.parametrize("method", ["prior", "importance", "annealed"])
def test_same_seed_gives_the_same_estimate(method):
    vae, images, _ = fitted_example(1)
    first, again, other = (
        tfvae.log_likelihood(vae, images, method, 20, seed, num_steps=5).numpy()
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_posteriors_of_many_images_are_those_of_a_few():
    vae = tiny_example(2).vae
    images = np.tile(all_images(), (2, 1, 1, 1))[:600]
    posterior = encode_in_batches(vae, images)
    assert posterior.batch_shape == (600,)
    few = vae.encode(images[500:540])
    np.testing.assert_allclose(posterior[500:540].mean(), few.mean())
    np.testing.assert_allclose(posterior[500:540].stddev(), few.stddev())
    with pytest.raises(InputError, match="no images to encode"):
        encode_in_batches(vae, images[:0])
