import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae import objectives
from tfvae.common.errors import InputError
from tfvae.common.seeds import stateless_seed
from tfvae.distributions.factorial import SMALLEST_STDDEV
from tfvae.inference import gradient_draws
from tfvae.objectives import ELBO, IWAE, ForwardKL

tfd = tfp.distributions

IMAGE_SHAPE = (2, 2, 1)
IMAGES = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 0]], np.float64).reshape(-1, *IMAGE_SHAPE)
ALL_OBJECTIVES = [
    ELBO(
        beta=0.5,
        num_samples=3,
        analytic_kl=False,
        free_bits=0.25,
        gradient_estimator="score_function",
    ),
    ELBO(),
    IWAE(num_samples=7, gradient_estimator="doubly_reparameterized"),
    IWAE(num_samples=4),
    IWAE(num_samples=5, gradient_estimator="doubly_reparameterized", num_resampled=2),
    ForwardKL(num_samples=6),
]
BY_CLASS = pytest.mark.parametrize(
    "objective", ALL_OBJECTIVES, ids=lambda objective: type(objective).__name__
)


def small_vae(latent_dim=1, dtype="float64", image_shape=IMAGE_SHAPE, scale=1.0):
    """A smooth model of weights so large that its posterior is no normal distribution."""
    options = {"hidden": (5,), "activation": "tanh", "dtype": dtype}
    vae = tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder(image_shape, latent_dim, **options),
        decoder=tfvae.networks.mlp_decoder(image_shape, latent_dim, **options),
        dtype=dtype,
    )
    numbers = np.random.default_rng(0)
    for network, factor in ((vae.encoder, 0.5), (vae.decoder, 1.5)):
        network.set_weights(
            [scale * factor * numbers.normal(size=weight.shape) for weight in network.weights]
        )
    return vae


def vae_of_known_posterior(latent_dim=2):
    """A model whose decoder ignores z, and whose encoder knows: q(Z|x) = p(Z|x) = p(Z)."""
    vae = small_vae(latent_dim)
    kernel, *others = vae.decoder.get_weights()
    vae.decoder.set_weights([np.zeros_like(kernel), *others])
    *others, kernel, bias = vae.encoder.get_weights()
    bias = np.zeros_like(bias)
    # softplus(unit scale + bias) = 1 - SMALLEST_STDDEV, so that the standard deviation is 1.
    bias[latent_dim:] = np.log(np.expm1(1 - SMALLEST_STDDEV)) - np.log(np.expm1(1))
    vae.encoder.set_weights([*others, np.zeros_like(kernel), bias])
    np.testing.assert_allclose(vae.encode(IMAGES).stddev(), 1, rtol=1e-12)
    return vae


def terms_of(vae, objective, images=IMAGES, seed=0):
    noise = noise_of(vae, objective, images, stateless_seed(seed))
    return terms_with(noise, vae, objective, images)


def terms_with(noise, vae, objective, images=IMAGES):
    return objective(
        tf.cast(images, vae.distribution_dtype),
        posterior=vae.encode(images),
        prior=vae.prior,
        decode=vae.decode,
        noise=noise,
    )


def noise_of(vae, objective, images, seed):
    return objective.draw_noise(
        len(images), vae.latent_dim, seed=seed, dtype=vae.distribution_dtype
    )


class Quadrature:
    """Integrals over the one latent, exact to rounding: a trapezoid sum of a smooth function."""

    def __init__(self, vae, images=IMAGES):
        self.points = tf.constant(np.linspace(-14, 14, 2801)[:, np.newaxis, np.newaxis])
        self.step = tf.constant(0.01, tf.float64)
        self.posterior = vae.encode(images)
        self.log_q = self.posterior.log_prob(self.points)
        self.log_joint = vae.prior.log_prob(self.points) + vae.decode(self.points).log_prob(images)
        self.log_evidence = tf.reduce_logsumexp(self.log_joint, axis=0) + tf.math.log(self.step)
        self.log_p = self.log_joint - self.log_evidence

    def elbo(self):
        return self._integral(tf.exp(self.log_q) * (self.log_joint - self.log_q))

    def forward_kl(self):
        return self._integral(tf.exp(self.log_p) * (self.log_p - self.log_q))

    def _integral(self, function):
        return self.step * tf.reduce_sum(function, axis=0)


def flat_gradient(function, variables):
    with tf.GradientTape() as tape:
        quantity = function()
    gradients = tape.gradient(quantity, variables, unconnected_gradients="zero")
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def flat_objective_gradient(vae, objective, network, seed=0, images=IMAGES):
    variables = getattr(vae, network).trainable_variables
    return flat_gradient(
        lambda: tf.reduce_mean(terms_of(vae, objective, images, seed=seed).objective), variables
    )


def largest_deviation(vae, objective, expected, network="encoder", num_draws=150, copies=40):
    """The largest deviation of a gradient's mean from the expected one, in standard errors.

    Copies of the images in the batch are so many independent draws the faster.
    """
    images = np.repeat(IMAGES, copies, axis=0)
    draws = np.array(
        [draw[network] for draw in gradient_draws(vae, images, objective, num_draws, seed=1)]
    )
    error = draws.std(axis=0, ddof=1) / np.sqrt(num_draws)
    assert expected.shape == error.shape
    return np.max(np.abs(draws.mean(axis=0) - expected) / np.maximum(error, 1e-12))


# Values.


@BY_CLASS
def test_terms_are_plain_whatever_is_maximized(objective):
    vae = small_vae(latent_dim=2)
    terms = terms_of(vae, objective)
    plain = terms_of(vae, ELBO(num_samples=objective.num_samples))
    np.testing.assert_allclose(terms.reconstruction, plain.reconstruction, rtol=1e-12)
    if getattr(objective, "analytic_kl", True):
        np.testing.assert_allclose(terms.kl, plain.kl, rtol=1e-12)
    assert terms.objective.shape == terms.kl.shape == terms.reconstruction.shape == (3,)


def test_latents_of_several_samples_are_decoded_as_one_by_one():
    vae = small_vae(latent_dim=2)
    latents = tf.random.stateless_normal([4, 3, 2], seed=(0, 1), dtype=tf.float64)
    likelihood = vae.decode(latents)
    assert likelihood.batch_shape == (4, 3)
    assert likelihood.event_shape == IMAGE_SHAPE
    for sample, log_likelihood in zip(latents, likelihood.log_prob(IMAGES), strict=True):
        np.testing.assert_allclose(vae.decode(sample).log_prob(IMAGES), log_likelihood, rtol=1e-12)


def test_one_importance_sample_gives_the_monte_carlo_elbo():
    vae = small_vae(latent_dim=2)
    elbo = terms_of(vae, ELBO(analytic_kl=False)).objective
    for gradient in ("reparameterized", "doubly_reparameterized"):
        bound = terms_of(vae, IWAE(num_samples=1, gradient_estimator=gradient)).objective
        np.testing.assert_allclose(bound, elbo, rtol=1e-12)


def test_elbo_is_that_of_quadrature():
    """Within 4 standard errors of 20,000 draws, with either form of the KL."""
    vae = small_vae()
    exact = Quadrature(vae).elbo()
    images = np.repeat(IMAGES, 20_000, axis=0)
    for analytic_kl in (True, False):
        draws = terms_of(vae, ELBO(analytic_kl=analytic_kl), images).objective.numpy()
        draws = draws.reshape(3, -1)
        error = draws.std(axis=1) / np.sqrt(draws.shape[1])
        assert np.all(np.abs(draws.mean(axis=1) - exact) < 4 * error)


def test_importance_weighted_bound_grows_towards_log_evidence():
    """In expectation; each step of 4 standard errors of the 4,000 draws at least."""
    vae = small_vae()
    log_evidence = Quadrature(vae).log_evidence.numpy()
    images = np.repeat(IMAGES, 4_000, axis=0)
    bounds, errors = [], []
    for num_samples in (1, 5, 50):
        draws = terms_of(vae, IWAE(num_samples=num_samples), images, seed=num_samples).objective
        draws = draws.numpy().reshape(3, -1)
        bounds.append(draws.mean(axis=1))
        errors.append(draws.std(axis=1) / np.sqrt(draws.shape[1]))
    assert np.all(np.diff(bounds, axis=0) > 4 * np.hypot(errors[1:], errors[:-1]))
    assert np.all(bounds[-1] < log_evidence + 4 * errors[-1])
    many = terms_of(vae, IWAE(num_samples=50_000)).objective
    np.testing.assert_allclose(many, log_evidence, atol=0.03)


@pytest.mark.parametrize("gradient", ["reparameterized", "doubly_reparameterized"])
@pytest.mark.parametrize("num_samples", [1, 5, 50])
def test_importance_weighted_bound_of_the_posterior_is_exact_at_every_draw(num_samples, gradient):
    vae = vae_of_known_posterior()
    log_evidence = vae.decode(tf.zeros([1, 2], tf.float64)).log_prob(IMAGES)
    for seed in range(3):
        terms = terms_of(vae, IWAE(num_samples=num_samples, gradient_estimator=gradient), seed=seed)
        np.testing.assert_allclose(terms.objective, log_evidence, rtol=1e-12)


def test_forward_kl_objective_is_that_of_quadrature():
    """log p(x) - KL(p(Z|x) || q(Z|x)); the bias falls with the number of samples."""
    vae = small_vae()
    exact = Quadrature(vae)
    estimate = terms_of(vae, ForwardKL(num_samples=200_000)).objective
    assert np.all(exact.forward_kl() > 0.02)
    np.testing.assert_allclose(estimate, exact.log_evidence - exact.forward_kl(), atol=0.02, rtol=0)


# Gradients.


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(),
        ELBO(num_samples=3),
        ELBO(analytic_kl=False),
        ELBO(gradient_estimator="score_function"),
        ELBO(gradient_estimator="score_function", analytic_kl=False, num_samples=2),
        IWAE(num_samples=1),
        IWAE(num_samples=1, gradient_estimator="doubly_reparameterized"),
    ],
    ids=lambda objective: json.dumps(objective.get_config()),
)
def test_elbo_gradient_estimators_are_unbiased(objective):
    """The exact gradient, by quadrature, is within 4.5 standard errors in every parameter."""
    vae = small_vae()
    for network in ("encoder", "decoder"):
        exact = flat_gradient(
            lambda: tf.reduce_mean(Quadrature(vae).elbo()),
            getattr(vae, network).trainable_variables,
        )
        assert largest_deviation(vae, objective, exact, network) < 4.5


def test_importance_weighted_gradient_is_that_of_log_evidence_with_many_samples():
    """The decoder's, within 4.5 standard errors and a bias below them."""
    vae = small_vae()
    exact = flat_gradient(
        lambda: tf.reduce_mean(Quadrature(vae).log_evidence), vae.decoder.trainable_variables
    )
    objective = IWAE(num_samples=2_000)
    assert largest_deviation(vae, objective, exact, "decoder", num_draws=60, copies=1) < 4.5


def test_doubly_reparameterized_gradient_has_the_mean_of_the_plain_one():
    """Within 4.5 standard errors of the difference in every parameter of the encoder."""
    vae = small_vae()
    images = np.repeat(IMAGES, 60, axis=0)
    means, squared_errors = [], []
    for seed, gradient in enumerate(("reparameterized", "doubly_reparameterized")):
        objective = IWAE(num_samples=4, gradient_estimator=gradient)
        draws = [draw["encoder"] for draw in gradient_draws(vae, images, objective, 300, seed)]
        means.append(np.mean(draws, axis=0))
        squared_errors.append(np.var(draws, axis=0, ddof=1) / len(draws))
    assert np.all(np.abs(means[0] - means[1]) < 4.5 * np.sqrt(np.sum(squared_errors, axis=0)))
    assert np.linalg.norm(means[0]) > 20 * np.sqrt(np.sum(squared_errors))


def test_doubly_reparameterized_gradient_of_the_decoder_is_the_plain_one():
    vae = small_vae(latent_dim=2)
    plain, doubly = (
        flat_objective_gradient(vae, IWAE(num_samples=5, gradient_estimator=gradient), "decoder")
        for gradient in ("reparameterized", "doubly_reparameterized")
    )
    assert np.linalg.norm(plain) > 0.01
    np.testing.assert_allclose(doubly, plain, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("objective", "estimator"),
    [
        (ELBO(analytic_kl=False), "REPARAMETERIZATION"),
        (ELBO(analytic_kl=False, gradient_estimator="score_function"), "SCORE_FUNCTION"),
        (
            IWAE(num_samples=1, gradient_estimator="doubly_reparameterized"),
            "DOUBLY_REPARAMETERIZED",
        ),
        (IWAE(num_samples=6), "REPARAMETERIZATION"),
        (
            IWAE(num_samples=6, gradient_estimator="doubly_reparameterized"),
            "DOUBLY_REPARAMETERIZED",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_encoder_gradients_are_those_of_tensorflow_probability(objective, estimator):
    # One latent: theirs lets the score of every latent answer for the KL of all of them.
    vae = small_vae(latent_dim=1)
    seed = stateless_seed(3)
    # It draws from the first half of the seed that it is given.
    sample_seed = tfp.random.split_seed(seed, 2)[0]
    ours = flat_gradient(
        lambda: terms_with(noise_of(vae, objective, IMAGES, sample_seed), vae, objective).objective,
        vae.encoder.trainable_variables,
    )

    def theirs():
        posterior = vae.encode(IMAGES)
        stopped = {}
        if estimator == "DOUBLY_REPARAMETERIZED":
            normal = posterior.distribution
            normal = tfd.Normal(tf.stop_gradient(normal.loc), tf.stop_gradient(normal.scale))
            stopped["stopped_surrogate_posterior"] = tfd.Independent(normal, 1)
        return -tfp.vi.monte_carlo_variational_loss(
            lambda latents: vae.decode(latents).log_prob(IMAGES) + vae.prior.log_prob(latents),
            surrogate_posterior=posterior,
            importance_sample_size=objective.num_samples,
            gradient_estimator=tfp.vi.GradientEstimators[estimator],
            seed=seed,
            **stopped,
        )

    theirs = flat_gradient(theirs, vae.encoder.trainable_variables)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_forward_kl_gradients_are_those_of_quadrature(network):
    """Within 4.5 standard errors in every parameter, of 60 draws with 4,000 samples each."""
    vae = small_vae()
    exact = flat_gradient(
        lambda: tf.reduce_mean(
            -Quadrature(vae).forward_kl() if network == "encoder" else Quadrature(vae).log_evidence
        ),
        getattr(vae, network).trainable_variables,
    )
    objective = ForwardKL(num_samples=4_000)
    deviation = largest_deviation(vae, objective, exact, network, num_draws=60, copies=1)
    assert deviation < 4.5


def test_forward_kl_weights_samples_by_their_importance():
    """The encoder's gradient is that of sum_i w_i log q(z_i|x), at every draw."""
    vae = small_vae(latent_dim=2)
    latents = vae.encode(IMAGES).sample(6, seed=stateless_seed(0))
    log_weights = (
        vae.decode(latents).log_prob(IMAGES)
        + vae.prior.log_prob(latents)
        - vae.encode(IMAGES).log_prob(latents)
    )
    weights = tf.nn.softmax(log_weights, axis=0)
    expected = flat_gradient(
        lambda: tf.reduce_sum(weights * vae.encode(IMAGES).log_prob(latents)) / len(IMAGES),
        vae.encoder.trainable_variables,
    )
    gradient = flat_objective_gradient(vae, ForwardKL(num_samples=6), "encoder")
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


# Beta and free bits.


def test_beta_weighs_the_kl_and_may_change():
    vae = small_vae(latent_dim=2)
    objective = ELBO(beta=0.0)
    without = terms_of(vae, objective)
    np.testing.assert_allclose(without.objective, without.reconstruction, rtol=1e-12)
    objective.beta = 3.0
    terms = terms_of(vae, objective)
    np.testing.assert_allclose(terms.objective, terms.reconstruction - 3 * terms.kl, rtol=1e-12)
    np.testing.assert_allclose(terms.elbo, terms.reconstruction - terms.kl, rtol=1e-12)


def test_kl_below_the_free_bits_has_no_gradient():
    vae = small_vae(latent_dim=2)
    free = ELBO(free_bits=100.0, beta=0.5)
    terms = terms_of(vae, free)
    np.testing.assert_allclose(terms.objective, terms.reconstruction - 0.5 * 2 * 100, rtol=1e-12)
    np.testing.assert_allclose(terms.kl, terms_of(vae, ELBO()).kl, rtol=1e-12)
    gradient = flat_objective_gradient(vae, free, "encoder")
    np.testing.assert_allclose(gradient, flat_objective_gradient(vae, ELBO(beta=0), "encoder"))
    assert not np.allclose(gradient, flat_objective_gradient(vae, ELBO(), "encoder"))


def test_free_bits_are_of_each_dimension_and_of_the_mean_over_the_batch():
    """Of three dimensions one is below; of the images some are below where the mean is not."""
    vae = small_vae(latent_dim=3)
    kl = tfd.kl_divergence(vae.encode(IMAGES).distribution, vae.prior.distribution).numpy()
    means = np.sort(kl.mean(axis=0))
    free_bits = 0.5 * (means[0] + means[1])
    above = kl.mean(axis=0) > free_bits
    assert np.any(kl[:, above] < free_bits)
    terms = terms_of(vae, ELBO(free_bits=free_bits))
    expected = np.maximum(kl.mean(axis=0), free_bits).sum()
    penalty = np.mean(terms.reconstruction - terms.objective)
    np.testing.assert_allclose(penalty, expected, rtol=1e-12)

    def expected_objective():
        posterior = vae.encode(IMAGES)
        kl = tfd.kl_divergence(posterior.distribution, vae.prior.distribution)
        kl = tf.boolean_mask(tf.reduce_mean(kl, axis=0), above)
        return tf.reduce_mean(terms_of(vae, ELBO(beta=0)).objective) - tf.reduce_sum(kl)

    np.testing.assert_allclose(
        flat_objective_gradient(vae, ELBO(free_bits=free_bits), "encoder"),
        flat_gradient(expected_objective, vae.encoder.trainable_variables),
        rtol=1e-10,
        atol=1e-13,
    )


# Robustness.


@pytest.mark.parametrize("logit", [-1e4, 1e4])
@BY_CLASS
def test_objectives_and_gradients_stay_finite_at_extreme_logits(objective, logit):
    vae = small_vae(latent_dim=2, dtype="float32")
    *others, bias = vae.decoder.get_weights()
    vae.decoder.set_weights([*(100 * weight for weight in others), np.full_like(bias, logit)])
    images = IMAGES.astype(np.float32)
    terms = terms_of(vae, objective, images)
    assert np.all(np.isfinite(terms))
    for network in ("encoder", "decoder"):
        gradient = flat_objective_gradient(vae, objective, network, images=images)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    ("objective", "dtype"),
    [
        (ELBO(free_bits=0.01, num_samples=2), "float32"),
        (IWAE(num_samples=3), "float32"),
        (IWAE(num_samples=3, gradient_estimator="doubly_reparameterized"), "mixed_bfloat16"),
        (
            IWAE(num_samples=5, gradient_estimator="doubly_reparameterized", num_resampled=2),
            "mixed_bfloat16",
        ),
        (ForwardKL(num_samples=3), "float32"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_objectives_train(objective, dtype):
    """The decoder at least learns the one image there is, from about 16 log 2 = 11 nats on."""
    keras.utils.set_random_seed(0)
    vae = tfvae.VAE(
        encoder=tfvae.networks.mlp_encoder((4, 4, 1), 2, hidden=(8,), dtype=dtype),
        decoder=tfvae.networks.mlp_decoder((4, 4, 1), 2, hidden=(8,), dtype=dtype),
        dtype=dtype,
    )
    vae.compile(keras.optimizers.Adam(0.02), objective=objective)
    images = np.tile(np.eye(4, dtype=np.float32)[np.newaxis, :, :, np.newaxis], [64, 1, 1, 1])
    history = vae.fit(images, epochs=20, batch_size=16, verbose=0).history
    assert history["loss"][0] > 9
    assert history["loss"][-1] < 3
    assert history["elbo"][-1] > -3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_doubly_reparameterized_gradient_is_that_of_the_paper_when_compiled(jit_compile):
    """The gradient of sum_i w_i^2 log(p(x, z_i) / q(z_i|x)) through z alone."""
    vae = small_vae(latent_dim=2)
    objective = IWAE(num_samples=5, gradient_estimator="doubly_reparameterized")

    def expected_objective():
        posterior = vae.encode(IMAGES)
        latents = posterior.sample(5, seed=stateless_seed(0))
        normal = posterior.distribution
        stopped = tfd.Normal(tf.stop_gradient(normal.loc), tf.stop_gradient(normal.scale))
        log_joint = vae.decode(latents).log_prob(IMAGES) + vae.prior.log_prob(latents)
        log_weights = log_joint - tfd.Independent(stopped, 1).log_prob(latents)
        squares = tf.stop_gradient(tf.nn.softmax(log_weights, axis=0) ** 2)
        return tf.reduce_sum(squares * log_weights) / len(IMAGES)

    @tf.function(jit_compile=jit_compile)
    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            bound = tf.reduce_mean(terms_of(vae, objective).objective)
            expected = expected_objective()
        variables = vae.encoder.trainable_variables
        return tape.gradient(bound, variables), tape.gradient(expected, variables)

    for gradient, expected in zip(*gradients(), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-12)


def test_doubly_reparameterized_gradient_is_the_same_from_outside_of_the_compiled_function():
    vae = small_vae(latent_dim=2)
    objective = IWAE(num_samples=5, gradient_estimator="doubly_reparameterized")
    expected = flat_objective_gradient(vae, objective, "encoder")
    compiled = tf.function(lambda: tf.reduce_mean(terms_of(vae, objective).objective))
    gradient = flat_gradient(compiled, vae.encoder.trainable_variables)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


# Resampling.


@pytest.mark.parametrize("gradient", ["reparameterized", "doubly_reparameterized"])
def test_resampling_keeps_the_value_and_the_mean_of_the_gradient(gradient):
    """Within 4.5 standard errors in every parameter, given the latents."""
    vae = small_vae(latent_dim=2)
    noise = tf.random.stateless_normal([7, len(IMAGES), 2], seed=(0, 1), dtype=tf.float64)
    # Each column is the batch once more, with a resampling of its own.
    copies = 4_000
    images = tf.tile(IMAGES, [copies, 1, 1, 1])
    rows = tf.random.stateless_normal([1, len(images), 2], seed=(0, 2), dtype=tf.float64)
    resampled_noise = tf.concat([tf.tile(noise[:6], [1, copies, 1]), rows], axis=0)

    variables = vae.trainable_variables
    exact = IWAE(num_samples=6, gradient_estimator=gradient)
    resampled = IWAE(num_samples=6, gradient_estimator=gradient, num_resampled=2)

    def exact_bounds():
        return terms_with(noise[:6], vae, exact).objective

    expected = flat_gradient(lambda: tf.reduce_mean(exact_bounds()), variables)
    with tf.GradientTape() as tape:
        values = terms_with(resampled_noise, vae, resampled, images).objective
        by_group = tf.reduce_mean(tf.reshape(values, [40, -1]), axis=1)
    np.testing.assert_allclose(tf.reshape(values, [copies, -1])[0], exact_bounds(), rtol=1e-12)
    jacobians = tape.jacobian(by_group, variables)
    draws = np.concatenate([np.reshape(part, [40, -1]) for part in jacobians], axis=1)
    errors = draws.std(axis=0, ddof=1) / np.sqrt(40)
    assert np.count_nonzero(errors > 1e-6) > 20
    assert np.all(np.abs(draws.mean(axis=0) - expected) < 4.5 * errors + 1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_resampling_is_the_same_when_compiled(jit_compile):
    vae = small_vae(latent_dim=2)
    objective = IWAE(num_samples=5, gradient_estimator="doubly_reparameterized", num_resampled=2)
    expected = flat_objective_gradient(vae, objective, "encoder")
    compiled = tf.function(
        lambda noise: tf.reduce_mean(terms_with(noise, vae, objective).objective),
        jit_compile=jit_compile,
    )
    noise = noise_of(vae, objective, IMAGES, stateless_seed(0))
    gradient = flat_gradient(lambda: compiled(noise), vae.encoder.trainable_variables)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


# Names, configs, files.


@pytest.mark.parametrize(
    ("name", "kind"), [("elbo", ELBO), ("iwae", IWAE), ("forward_kl", ForwardKL)]
)
def test_objectives_have_names(name, kind):
    assert type(objectives.get(name)) is kind
    vae = small_vae()
    vae.compile(objective=name)
    assert type(vae.objective) is kind


def attributes(objective):
    return {
        name: value.numpy() if isinstance(value, tf.Variable) else value
        for name, value in vars(objective).items()
    }


@BY_CLASS
def test_objectives_are_restored_from_their_config(objective):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(objective)))
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(objective)
    assert attributes(restored) == attributes(objective)


@BY_CLASS
def test_objectives_are_restored_from_a_saved_model(objective, tmp_path):
    vae = small_vae(dtype="float32")
    vae.compile(objective=objective)
    vae.fit(IMAGES.astype(np.float32), verbose=0)
    vae.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert type(restored.objective) is type(objective)
    assert attributes(restored.objective) == attributes(objective)
    images = IMAGES.astype(np.float32)
    np.testing.assert_array_equal(
        terms_of(restored, restored.objective, images), terms_of(vae, objective, images)
    )


@pytest.mark.parametrize("number", [0, -1, 2.0, True, "3", None])
@pytest.mark.parametrize("kind", [ELBO, IWAE, ForwardKL])
def test_impossible_numbers_of_samples_are_refused(kind, number):
    with pytest.raises(
        InputError, match=f"num_samples must be an integer of at least .* got {number!r}"
    ):
        kind(num_samples=number)


@pytest.mark.parametrize("number", [0, 6, 2.0, True, "3"])
def test_impossible_numbers_of_resampled_latents_are_refused(number):
    with pytest.raises(InputError, match=rf"num_resampled must be .*; got {number!r}"):
        IWAE(num_samples=5, num_resampled=number)


def test_forward_kl_of_one_sample_is_refused():
    with pytest.raises(InputError, match="at least 2; got 1"):
        ForwardKL(num_samples=1)


def test_noise_of_another_number_of_samples_is_refused():
    """The last row would be both a latent and where resampling starts."""
    vae = small_vae()
    noise = noise_of(vae, IWAE(num_samples=5), IMAGES, stateless_seed(0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        terms_with(noise, vae, IWAE(num_samples=5, num_resampled=2))


@pytest.mark.parametrize("number", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["beta", "free_bits"])
def test_impossible_weights_are_refused(name, number):
    with pytest.raises(InputError, match=f"{name} must be a finite number of at least 0"):
        ELBO(**{name: number})


@pytest.mark.parametrize("kind", [ELBO, IWAE])
def test_unknown_gradient_estimators_are_refused(kind):
    with pytest.raises(InputError, match=r"gradient_estimator must be one of .+; got 'reinforce'"):
        kind(gradient_estimator="reinforce")


@pytest.mark.parametrize("identifier", ["evidence", "", None, 3, ELBO])
def test_unknown_objectives_are_refused(identifier):
    with pytest.raises(InputError, match="must be one of 'elbo', 'iwae', 'forward_kl'"):
        objectives.get(identifier)
