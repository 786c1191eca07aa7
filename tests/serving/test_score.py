import resource

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tfvae.serving import noise, score, signatures


def score_function(vae, num_samples):
    """The signature `score`, from arrays to arrays."""
    function = signatures.signatures(vae, num_importance_samples=num_samples)["score"]

    def scores(images, seeds):
        outputs = function(tf.constant(images), tf.constant(seeds, tf.int64))
        return {name: output.numpy() for name, output in outputs.items()}

    return scores


def direct_scores(vae, images, seeds, num_samples):
    """The definitions, in NumPy and float64, one image and one sample at a time."""
    posterior = vae.encode(images)
    mean, stddev = (x.numpy().astype(np.float64) for x in (posterior.mean(), posterior.stddev()))
    dim = vae.latent_dim
    words_per_sample = noise.normal_word_count(dim)
    results = []
    for row, seed in enumerate(seeds):
        words = noise.random_words(
            tf.constant([seed], tf.int64), num_samples * words_per_sample, start=2**40
        )
        words = tf.reshape(words, [num_samples, words_per_sample])
        standard = noise.standard_normal(words, dim, dtype=tf.float64).numpy()
        latents = mean[row] + stddev[row] * standard
        logits = vae.decoder(latents.astype(np.float32)).numpy().astype(np.float64)
        log_p_x = (images[row] * logits - np.logaddexp(0.0, logits)).sum(axis=(1, 2, 3))
        log_p_z = (-0.5 * latents**2 - 0.5 * np.log(2 * np.pi)).sum(axis=1)
        log_q_z = (
            -0.5 * ((latents - mean[row]) / stddev[row]) ** 2
            - np.log(stddev[row])
            - 0.5 * np.log(2 * np.pi)
        ).sum(axis=1)
        kl = (0.5 * (mean[row] ** 2 + stddev[row] ** 2 - 1) - np.log(stddev[row])).sum()
        log_likelihood = special.logsumexp(log_p_x + log_p_z - log_q_z) - np.log(num_samples)
        results.append((log_p_x.mean() - kl, log_likelihood, log_p_x.mean(), kl))
    return dict(
        zip(("elbo", "log_likelihood", "reconstruction", "kl"), np.transpose(results), strict=True)
    )


@pytest.mark.parametrize(
    ("num_samples", "pixels_per_pass"),
    # All at once; two samples per pass, so that the last one is half empty; one sample per pass.
    [(1, 2**20), (40, 2**20), (7, 3 * 2 * 784), (7, 1)],
)
def test_score_is_the_direct_formula_in_passes_of_any_size(
    vae, make_images, monkeypatch, num_samples, pixels_per_pass
):
    images, seeds = make_images(3), [4, -9, 2**62]
    monkeypatch.setattr(score, "latents_per_pass", lambda vae: max(1, pixels_per_pass // 784))
    result = score_function(vae, num_samples)(images, seeds)
    for name, values in direct_scores(vae, images, seeds, num_samples).items():
        np.testing.assert_allclose(result[name], values, rtol=3e-6, err_msg=name)


def test_score_of_a_row_depends_on_its_image_and_seed_alone(vae, make_images):
    images = make_images(6)
    seeds = np.array([5, 5, 1, 2, 3, 4])
    images[1] = images[0]
    scores = score_function(vae, 10)
    together = scores(images, seeds)
    for name, values in together.items():
        assert values[0] == pytest.approx(values[1], rel=1e-6)
        apart = scores(images[3:5], seeds[3:5])[name]
        np.testing.assert_allclose(values[3:5], apart, rtol=1e-6)
    assert scores(images[:1], [6])["log_likelihood"] != together["log_likelihood"][0]


def test_log_likelihood_agrees_with_quadrature(make_vae, make_images):
    vae = make_vae(image_shape=(4, 4, 1), latent_dim=1, seed=3)
    # Near the prior, q(Z|x) covers the posterior, and the estimates have a small variance.
    vae.encoder.set_weights([0.1 * weight for weight in vae.encoder.get_weights()])
    images = make_images(4, image_shape=(4, 4, 1))
    grid = np.linspace(-10, 10, 4001, dtype=np.float32)[:, np.newaxis]
    logits = vae.decoder(grid).numpy().astype(np.float64)[:, np.newaxis]
    log_joint = (images * logits - np.logaddexp(0.0, logits)).sum(axis=(2, 3, 4))
    log_joint += -0.5 * grid.astype(np.float64) ** 2 - 0.5 * np.log(2 * np.pi)
    exact = special.logsumexp(log_joint, axis=0) + np.log(20 / 4000)

    repeats = 40
    result = score_function(vae, 1000)(np.tile(images, (repeats, 1, 1, 1)), np.arange(4 * repeats))
    estimates = result["log_likelihood"].reshape(repeats, 4)
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(repeats)
    assert standard_error.max() < 0.01
    # The bias of the logarithm is a half of the variance of one estimate: far below.
    np.testing.assert_array_less(np.abs(estimates.mean(axis=0) - exact), 4.0 * standard_error)
    # Not so the ELBO: the estimates really weight the samples.
    assert (result["elbo"].reshape(repeats, 4).mean(axis=0) < exact - 0.05).all()


def test_memory_is_bounded_whatever_the_number_of_samples(vae, make_images):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The pixels of all samples at once would be 200 MB, in each of several tensors.
    result = score_function(vae, 1000)(make_images(64), np.arange(64))
    assert np.isfinite(result["log_likelihood"]).all()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes < 200_000
