import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.common.errors import InputError
from tfvae.common.seeds import stateless_seed
from tfvae.distributions.factorial import SMALLEST_STDDEV
from tfvae.inference import gradient_draws, gradient_noise, gradient_variance
from tfvae.objectives import ELBO, IWAE

IMAGE_SHAPE = (2, 2, 1)
IMAGES = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 0]], np.float64).reshape(-1, *IMAGE_SHAPE)


def small_vae(latent_dim=2):
    options = {"hidden": (5,), "activation": "tanh", "dtype": "float64"}
    vae = tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder(IMAGE_SHAPE, latent_dim, **options),
        decoder=tfvae.networks.mlp_decoder(IMAGE_SHAPE, latent_dim, **options),
        dtype="float64",
    )
    numbers = np.random.default_rng(0)
    for network, factor in ((vae.encoder, 0.5), (vae.decoder, 1.5)):
        network.set_weights([factor * numbers.normal(size=part.shape) for part in network.weights])
    return vae


def vae_of_known_posterior(latent_dim=2):
    """A model whose decoder ignores z, and whose encoder knows: q(Z|x) = p(Z|x) = p(Z)."""
    vae = small_vae(latent_dim)
    kernel, *others = vae.decoder.get_weights()
    vae.decoder.set_weights([np.zeros_like(kernel), *others])
    *others, kernel, bias = vae.encoder.get_weights()
    bias = np.zeros_like(bias)
    bias[latent_dim:] = np.log(np.expm1(1 - SMALLEST_STDDEV)) - np.log(np.expm1(1))
    vae.encoder.set_weights([*others, np.zeros_like(kernel), bias])
    return vae


def test_variance_is_that_of_the_draws():
    """With 25 draws, which no number of groups divides, and with the expectation's bias removed."""
    vae = small_vae()
    variances = gradient_variance(vae, IMAGES, IWAE(num_samples=3), num_draws=25, seed=4)
    assert set(variances) == {"encoder", "decoder"}
    draws = list(gradient_draws(vae, IMAGES, IWAE(num_samples=3), num_draws=25, seed=4))
    for network, variance in variances.items():
        of_network = np.array([draw[network] for draw in draws])
        assert of_network.shape == (25, getattr(vae, network).count_params())
        by_parameter = of_network.var(axis=0, ddof=1)
        assert variance.total == pytest.approx(by_parameter.sum(), rel=1e-9)
        assert variance.mean == pytest.approx(by_parameter.mean(), rel=1e-9)
        signal = np.sum(of_network.mean(axis=0) ** 2) - by_parameter.sum() / 25
        ratio = np.sqrt(signal / by_parameter.sum())
        assert variance.signal_to_noise == pytest.approx(ratio, rel=1e-9)


def test_draws_are_gradients_of_the_mean_objective():
    vae = small_vae()
    objective = ELBO()
    seed = stateless_seed(7)
    for index, draw in enumerate(gradient_draws(vae, IMAGES, objective, num_draws=2, seed=7)):
        with tf.GradientTape() as tape:
            terms = objective(
                tf.constant(IMAGES),
                posterior=vae.encode(IMAGES),
                prior=vae.prior,
                decode=vae.decode,
                noise=objective.draw_noise(
                    len(IMAGES),
                    vae.latent_dim,
                    seed=tf.random.experimental.stateless_fold_in(seed, index),
                    dtype=tf.float64,
                ),
            )
            mean = tf.reduce_mean(terms.objective)
        for network, gradient in zip(
            draw,
            tape.gradient(mean, [getattr(vae, name).trainable_variables for name in draw]),
            strict=True,
        ):
            expected = np.concatenate([np.ravel(part) for part in gradient])
            np.testing.assert_allclose(draw[network], expected, rtol=1e-9, atol=1e-14)


def test_standard_errors_are_those_of_repetition(monkeypatch):
    """On normal draws of known moments: 300 repetitions tell both within a quarter."""
    numbers = np.random.default_rng(0)
    stddev = np.linspace(0.1, 1, 12)

    def normal_draws(vae, images, objective, num_draws, seed):
        for _ in range(num_draws):
            yield {"encoder": 0.5 + stddev * numbers.normal(size=12)}

    monkeypatch.setattr(gradient_noise, "gradient_draws", normal_draws)
    repetitions = np.array(
        [gradient_variance(None, None, num_draws=60)["encoder"] for _ in range(300)]
    )
    total = np.sum(stddev**2)
    exact = [total, total / 12, np.sqrt(12 * 0.25 / total)]
    estimates, errors = repetitions[:, 0::2], repetitions[:, 1::2]
    spread = estimates.std(axis=0)
    np.testing.assert_allclose(np.sqrt(np.mean(errors**2, axis=0)), spread, rtol=0.25)
    assert np.all(np.abs(estimates.mean(axis=0) - exact) < 0.1 * spread * 4)


def test_score_function_is_far_noisier_than_reparameterization():
    """By more than a factor of ten, and the factor is sure to 4 standard errors."""
    options = {"hidden": (32,)}
    vae = tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder((8, 8, 1), 4, **options),
        decoder=tfvae.networks.mlp_decoder((8, 8, 1), 4, **options),
    )
    images = np.random.default_rng(0).integers(0, 2, [5, 8, 8, 1]).astype(np.float32)
    reparameterized, score = (
        gradient_variance(vae, images, ELBO(gradient_estimator=estimator), seed=0)["encoder"]
        for estimator in ("reparameterized", "score_function")
    )
    assert score.total - 4 * score.total_standard_error > 10 * (
        reparameterized.total + 4 * reparameterized.total_standard_error
    )
    assert score.signal_to_noise < reparameterized.signal_to_noise


@pytest.fixture(scope="module")
def iwae_variances():
    """Those of both estimators with 2 and with 50 samples."""
    vae = small_vae()
    return [
        gradient_variance(
            vae, IMAGES, IWAE(num_samples, gradient_estimator=estimator), num_draws=200, seed=0
        )
        for estimator in ("reparameterized", "doubly_reparameterized")
        for num_samples in (2, 50)
    ]


def test_doubly_reparameterized_gradient_is_less_noisy_than_the_plain_one(iwae_variances):
    """For the encoder, with 50 samples; the decoder's gradient is the same, draw by draw."""
    _, plain, _, doubly = iwae_variances
    error = np.hypot(plain["encoder"].total_standard_error, doubly["encoder"].total_standard_error)
    assert plain["encoder"].total - doubly["encoder"].total > 5 * error
    assert plain["decoder"] == pytest.approx(doubly["decoder"], rel=1e-6)


def test_more_samples_drown_the_plain_gradient_and_not_the_doubly_reparameterized_one(
    iwae_variances,
):
    """The signal-to-noise ratio from 2 to 50 samples, beyond 3 standard errors."""
    encoders = [variances["encoder"] for variances in iwae_variances]
    two_plain, plain, two_doubly, doubly = (variance.signal_to_noise for variance in encoders)
    error = 3 * np.linalg.norm([variance.signal_to_noise_standard_error for variance in encoders])
    assert plain < two_plain - error
    assert doubly > two_doubly - error
    assert doubly > plain + error


@pytest.mark.parametrize("num_samples", [1, 5])
def test_doubly_reparameterized_gradient_of_the_posterior_has_no_noise(num_samples):
    vae = vae_of_known_posterior()
    doubly = IWAE(num_samples, gradient_estimator="doubly_reparameterized")
    doubly = gradient_variance(vae, IMAGES, doubly, num_draws=10, seed=0)["encoder"]
    plain = gradient_variance(vae, IMAGES, IWAE(num_samples), num_draws=10, seed=0)["encoder"]
    assert doubly.total < 1e-24
    assert plain.total > 0.01


def test_gradient_without_noise_has_no_variance(monkeypatch):
    gradient = np.array([1e6, -3.0, 1e-3], np.float32)
    monkeypatch.setattr(gradient_noise, "gradient_draws", lambda *_: 10 * [{"encoder": gradient}])
    variance = gradient_variance(None, None, num_draws=10)["encoder"]
    assert variance.total == variance.mean == variance.total_standard_error == 0
    assert variance.signal_to_noise == np.inf


def test_same_seed_gives_the_same_and_leaves_the_model_alone():
    vae = small_vae()
    before = [*vae.get_weights(), vae.training_noise.state.numpy()]
    first, second, other = (
        gradient_variance(vae, IMAGES, num_draws=4, seed=seed) for seed in (5, 5, 6)
    )
    assert first == second
    assert first["encoder"].total != other["encoder"].total
    after = [*vae.get_weights(), vae.training_noise.state.numpy()]
    for one, another in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, another)


def test_networks_that_are_not_trained_are_left_out():
    vae = small_vae()
    vae.decoder.trainable = False
    assert set(gradient_variance(vae, IMAGES, num_draws=4)) == {"encoder"}
    vae.encoder.trainable = False
    with pytest.raises(InputError, match="no trainable variables"):
        gradient_variance(vae, IMAGES, num_draws=4)


@pytest.mark.parametrize("num_draws", [3, 0, -1, 4.0, True, None])
def test_impossible_numbers_of_draws_are_refused(num_draws):
    with pytest.raises(InputError, match="num_draws must be an integer of at least 4; got"):
        gradient_variance(small_vae(), IMAGES, num_draws=num_draws)


def test_impossible_images_objectives_and_seeds_are_refused():
    vae = small_vae()
    with pytest.raises(InputError, match="divide by 255"):
        gradient_variance(vae, 255 * IMAGES)
    with pytest.raises(InputError, match="empty"):
        gradient_variance(vae, IMAGES[:0])
    with pytest.raises(InputError, match="objective must be one of"):
        gradient_variance(vae, IMAGES, "evidence")
    with pytest.raises(InputError, match="seed must be"):
        gradient_variance(vae, IMAGES, seed=-1)
