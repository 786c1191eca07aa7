"""Each likelihood: its density, its draws, its mean and its gradient, against its definition."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special, stats

from tfvae.common.errors import InputError
from tfvae.distributions import discretized_logistic, likelihoods

LIKELIHOODS = {
    "bernoulli": lambda: likelihoods.Bernoulli(),
    "continuous_bernoulli": lambda: likelihoods.ContinuousBernoulli(),
    "normal": lambda: likelihoods.Normal(),
    "normal_pixel": lambda: likelihoods.Normal(stddev="pixel"),
    "normal_fixed": lambda: likelihoods.Normal(stddev=0.1),
    "discretized_logistic": lambda: likelihoods.DiscretizedLogistic(levels=8),
    "mixture": lambda: likelihoods.DiscretizedLogistic(levels=8, num_components=3),
    "categorical": lambda: likelihoods.Categorical(levels=5),
}
DISCRETE = ["bernoulli", "discretized_logistic", "mixture", "categorical"]
DENSITIES = [name for name in LIKELIHOODS if name not in DISCRETE]


def made(name):
    likelihood = LIKELIHOODS[name]()
    likelihood.build((1, 1, 2))
    return likelihood


def random_parameters(likelihood, *shape, seed=0, scale=1.5, dtype="float64"):
    *batch, channels = shape
    shape = (*batch, likelihood.num_parameters * channels)
    return tf.constant(np.random.default_rng(seed).normal(size=shape, scale=scale), dtype)


def one_pixel(likelihood, parameters, values):
    """log p of single values `[n]` under the parameters of one value."""
    distribution = likelihood.distribution(tf.reshape(parameters, [1, 1, -1]))
    return distribution.log_prob(tf.reshape(tf.constant(values), [-1, 1, 1, 1])).numpy()


def level_values(likelihood):
    return np.arange(likelihood.levels) / (likelihood.levels - 1)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_all_small_images_sum_to_1(name):
    likelihood = made(name)
    distribution = likelihood.distribution(random_parameters(likelihood, 1, 1, 3))
    images = np.array(list(itertools.product(level_values(likelihood), repeat=3)))
    log_prob = distribution.log_prob(images.reshape(-1, 1, 1, 3))
    np.testing.assert_allclose(special.logsumexp(log_prob), 0, atol=1e-12)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("seed", range(3))
def test_densities_integrate_to_1(name, seed):
    likelihood = made(name)
    parameters = random_parameters(likelihood, 1, 1, 1, seed=seed)
    loc, reach = (0.5, 0.5) if name == "continuous_bernoulli" else (float(parameters[0, 0, 0]), 4)
    values = loc + np.linspace(-reach, reach, 4001)
    total = integrate.simpson(np.exp(one_pixel(likelihood, parameters, values)), x=values)
    assert abs(total - 1) < 1e-5


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("way", ["noise", "seed"])
def test_draws_follow_the_distribution(name, way):
    """By chi-square for levels and Kolmogorov-Smirnov for densities, at 1 of 1,000."""
    count, likelihood = 20_000, made(name)
    parameters = random_parameters(likelihood, 1, 1, 2)
    distribution = likelihood.distribution(parameters)
    if way == "noise":
        noise = np.random.default_rng(1).uniform(size=(count, 1, 1, 2))
        batch = likelihood.distribution(tf.repeat(parameters[tf.newaxis], count, axis=0))
        draws = likelihood.sample(batch, tf.constant(noise)).numpy()
    else:
        draws = distribution.sample(count, seed=(0, 1)).numpy()
    assert draws.shape == (count, 1, 1, 2)
    for channel in range(2):
        own = parameters[..., channel::2]
        values = draws[..., channel].ravel()
        if likelihood.levels:
            probabilities = np.exp(one_pixel(likelihood, own, level_values(likelihood)))
            levels = np.rint(values * (likelihood.levels - 1)).astype(int)
            np.testing.assert_allclose(levels / (likelihood.levels - 1), values)
            counts = np.bincount(levels, minlength=likelihood.levels)
            result = stats.chisquare(counts, count * probabilities / probabilities.sum())
        else:
            cdf = likelihood.distribution(own).distribution.cdf
            below = cdf(tf.constant(values[:, np.newaxis, np.newaxis, np.newaxis])).numpy()
            result = stats.kstest(below.ravel(), "uniform")
        assert result.pvalue > 1e-3


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_mean_is_that_of_the_density(name):
    likelihood = made(name)
    parameters = random_parameters(likelihood, 1, 1, 1)
    mean = float(likelihood.distribution(parameters).mean()[0, 0, 0])
    if likelihood.levels:
        values = level_values(likelihood)
        expected = np.exp(one_pixel(likelihood, parameters, values)) @ values
    else:
        reach = 0.5 if name == "continuous_bernoulli" else 4
        values = np.linspace(-reach, reach, 4001)
        values += reach if name == "continuous_bernoulli" else mean
        density = np.exp(one_pixel(likelihood, parameters, values))
        expected = integrate.simpson(density * values, x=values)
        expected /= integrate.simpson(density, x=values)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_agree_with_finite_differences(name):
    likelihood = made(name)
    parameters = random_parameters(likelihood, 2, 2, 1)
    images = likelihood.distribution(parameters).sample(seed=(0, 3))

    def log_prob(parameters):
        return likelihood.distribution(parameters).log_prob(images)

    theoretical, numerical = tf.test.compute_gradient(log_prob, [parameters], delta=1e-5)
    np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_float32_is_finite_at_extremes_with_its_gradients(name, jit_compile):
    likelihood = made(name)
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=min(likelihood.num_parameters, 6))))
    signs = np.resize(signs, (len(signs), 1, 1, likelihood.num_parameters))
    values = level_values(likelihood) if likelihood.levels else [0.0, 0.5, 1.0]

    @tf.function(jit_compile=jit_compile)
    def log_prob_and_gradients(parameters, images):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = likelihood.distribution(parameters).log_prob(images)
        return log_prob, tape.gradient(log_prob, [parameters, *likelihood.trainable_variables])

    for size, value in itertools.product([0.0, 1e-4, 20.0, 1e4, 1e6], values):
        parameters = tf.constant(size * signs, tf.float32)
        images = tf.fill([1, 1, 1], tf.constant(value, tf.float32))
        for tensor in tf.nest.flatten(log_prob_and_gradients(parameters, images)):
            assert np.isfinite(tensor).all(), (size, value)


def test_continuous_bernoulli_is_exact_around_one_half():
    """TFP changes to a Taylor series there; float32 has the density, and its mean, to 6 digits."""
    magnitudes = np.geomspace(1e-6, 50, 2000)
    logits = np.concatenate([-magnitudes, [0], magnitudes]).astype("float32")
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_normalizer = np.log(np.expm1(exact) / exact)
        mean = -1 / np.expm1(-exact) - 1 / exact
    small = np.abs(exact) < 0.02
    log_normalizer[small] = (exact / 2 + exact**2 / 24 - exact**4 / 2880)[small]
    mean[small] = (0.5 + exact / 12 - exact**3 / 720)[small]
    parameters = tf.constant(logits.reshape(-1, 1, 1, 1))
    value = np.float32(0.3)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        distribution = likelihoods.ContinuousBernoulli().distribution(parameters)
        log_prob = distribution.log_prob(tf.fill([1, 1, 1], value))
    np.testing.assert_allclose(log_prob, value * exact - log_normalizer, rtol=3e-6, atol=3e-6)
    gradient = tape.gradient(log_prob, parameters).numpy().ravel()
    np.testing.assert_allclose(gradient, value - mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0, 100.0])
def test_discretized_logistic_keeps_its_digits_in_float32(scale):
    locs = np.linspace(-1, 2, 61).astype("float32")[:, np.newaxis]
    values = np.arange(256) / 255
    results = []
    for dtype in ("float32", "float64"):
        distribution = discretized_logistic.DiscretizedLogistic(
            tf.constant(locs, dtype), tf.constant(scale, dtype), levels=256
        )
        results.append(distribution.log_prob(tf.constant(values, dtype)).numpy())
    assert np.isfinite(results[0]).all()
    # A location of 2 has 7 digits, and so has what it is standardized to.
    np.testing.assert_allclose(*results, rtol=1e-6, atol=4e-7 / scale + 1e-5)
    # The definition, where the difference of two cumulative probabilities has digits.
    ends = (np.arange(257) - 0.5) / 255
    cumulative = special.expit((ends - locs.astype(np.float64)) / scale)
    cumulative[:, 0], cumulative[:, -1] = 0, 1
    probabilities = np.diff(cumulative)
    is_certain = probabilities > 1e-6
    assert is_certain.any()
    np.testing.assert_allclose(np.exp(results[1])[is_certain], probabilities[is_certain], rtol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_parameters_of_a_mean_have_that_mean(name):
    likelihood = made(name)
    mean = np.array([[[0.001, 0.3]], [[0.5, 0.95]]])
    parameters = likelihood.parameters_of_mean(mean)
    assert parameters.shape == (2, 1, 2 * likelihood.num_parameters)
    found = likelihood.distribution(tf.constant(parameters)).mean()
    # Where the tails of a logistic are on the first and the last level, its mean is not its loc.
    atol = 0.25 if name in ("discretized_logistic", "mixture") else 1e-6
    np.testing.assert_allclose(found, mean, atol=atol)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_are_saved_with_their_arguments(name):
    likelihood = made(name)
    config = keras.saving.serialize_keras_object(likelihood)
    loaded = keras.saving.deserialize_keras_object(config, safe_mode=True)
    assert type(loaded) is type(likelihood)
    assert loaded.get_config() == likelihood.get_config()
    assert [w.shape for w in loaded.weights] == [w.shape for w in likelihood.weights]


def test_stddev_stays_above_its_floor():
    likelihood = made("normal")
    distribution = likelihood.distribution(tf.zeros([1, 1, 1]))
    np.testing.assert_allclose(distribution.stddev(), [[[0.1]]], rtol=1e-6)
    likelihood.unconstrained_stddev.assign(-1e6)
    distribution = likelihood.distribution(tf.zeros([1, 1, 1]))
    np.testing.assert_array_equal(distribution.stddev(), [[[np.float32(1e-3)]]])


def test_off_levels_are_impossible_for_a_categorical():
    log_prob = one_pixel(made("categorical"), tf.zeros([5]), np.float32([0.25, 0.3]))
    np.testing.assert_allclose(log_prob, [-np.log(5), -np.inf], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihoods.get("poisson"), "'bernoulli'.*got 'poisson'"),
        (lambda: likelihoods.get("categorical"), "tfvae.likelihoods.Categorical"),
        (lambda: likelihoods.Normal(stddev="each"), "stddev must be one of"),
        (lambda: likelihoods.Normal(stddev=0), "stddev must be a finite number above 0"),
        (lambda: likelihoods.DiscretizedLogistic(levels=1), "levels must be an integer from 2"),
        (lambda: likelihoods.DiscretizedLogistic(num_components=0), "num_components must be"),
        (lambda: likelihoods.Categorical(levels=2.5), "levels must be an integer"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
