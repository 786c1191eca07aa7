import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from quadrature import (
    IMAGE_SHAPE,
    Quadrature,
    all_images,
    fitted_example,
    quadrature_of_all_images,
    tiny_example,
    tiny_vae,
)

import tfvae
from tfvae import inference, networks, objectives
from tfvae.common.errors import InputError
from tfvae.inference import LowEffectiveSampleSizeWarning

UNEVEN_WEIGHTS = "ignore::tfvae.inference.LowEffectiveSampleSizeWarning"


@pytest.fixture(scope="module", params=[1, 2])
def example(request):
    return fitted_example(request.param)


def deviations(estimate, truth, standard_error):
    return np.abs((np.asarray(estimate) - truth) / np.asarray(standard_error))


class TestQuadrature:
    """The yardstick itself."""

    def test_has_converged(self, example):
        half = len(example.exact.latents[:, 0]) ** (1 / example.vae.latent_dim) / 2
        coarse = Quadrature(example.vae, example.images, points=int(half))
        np.testing.assert_allclose(example.exact.log_likelihood, coarse.log_likelihood, atol=1e-9)

    def test_probabilities_of_all_images_sum_to_one(self, example):
        total = np.sum(np.exp(quadrature_of_all_images(example.vae.latent_dim).log_likelihood))
        assert total == pytest.approx(1.0, abs=1e-9)

    def test_posterior_is_neither_prior_nor_q(self, example):
        exact = example.exact
        distance = exact.expectation(exact.log_posterior, exact.log_posterior - exact.log_prior)
        assert distance.max() > 0.3
        assert exact.kl_to_posterior.max() > 0.02


class TestExactness:
    @pytest.mark.parametrize("method", ["importance", "prior"])
    def test_samples(self, example, method):
        estimate = tfvae.log_likelihood(
            example.vae, example.images, method, num_samples=10_000, seed=4, diagnostics=True
        )
        truth = example.exact.log_likelihood
        assert deviations(estimate.log_likelihood, truth, estimate.standard_error).max() < 3
        largest = 0.02 if method == "importance" else 0.05
        assert np.abs(estimate.log_likelihood - truth).max() < largest

    @pytest.mark.filterwarnings(UNEVEN_WEIGHTS)
    def test_estimated_probabilities_of_all_images_sum_to_one(self, example):
        estimate = tfvae.log_likelihood(
            example.vae, all_images(), num_samples=2000, seed=0, diagnostics=True
        )
        probabilities = np.exp(estimate.log_likelihood)
        error = np.sqrt(np.sum((probabilities * estimate.standard_error) ** 2))
        assert error < 0.01
        assert np.sum(probabilities) == pytest.approx(1.0, abs=3 * error)

    def test_standard_errors_are_the_spread_of_repetitions(self, example):
        # Each copy of an image gets latents of its own.
        images = np.repeat(example.images[:2], 60, axis=0)
        result = inference.evidence(example.vae, images, num_samples=500, seed=0)
        for name in ("log_likelihood", "posterior_gap", "elbo"):
            estimates = np.reshape(getattr(result, name), (2, 60))
            errors = np.reshape(getattr(result, f"{name}_standard_error"), (2, 60))
            stated = np.sqrt(np.mean(errors**2, axis=1))
            # The standard deviation of 60 values is known to 9 %, of heavy tails somewhat less.
            np.testing.assert_allclose(stated, estimates.std(axis=1, ddof=1), rtol=0.35)

    def test_bounds_close_in_on_the_truth(self, example):
        num_samples = {"prior": (1, 1000), "importance": (1, 1000)}
        images = np.repeat(example.images, 5, axis=0)
        bounds = inference.bounds_by_num_samples(example.vae, images, num_samples)
        assert set(bounds) == {"prior", "importance"}
        truth = np.mean(example.exact.log_likelihood)
        for bound in bounds.values():
            np.testing.assert_array_equal(bound.num_samples, [1, 1000])
            assert bound.mean[0] < bound.mean[1]
            assert abs(bound.mean[1] - truth) < max(4 * bound.standard_error[1], 0.01)


class TestViewsOfTheELBO:
    def test_first_and_second_view_agree(self, example):
        exact = example.exact
        np.testing.assert_allclose(exact.elbo, exact.reconstruction - exact.kl_to_prior, atol=1e-6)

    def test_estimates_agree(self, example):
        exact = example.exact
        result = inference.evidence(example.vae, example.images, num_samples=20_000, seed=2)
        for name, truth in (("elbo", exact.elbo), ("posterior_gap", exact.kl_to_posterior)):
            error = getattr(result, f"{name}_standard_error")
            assert deviations(getattr(result, name), truth, error).max() < 3.5
            assert np.max(error) < 0.05
        error = result.elbo_standard_error
        assert deviations(result.reconstruction, exact.reconstruction, error).max() < 3.5
        np.testing.assert_allclose(result.posterior_gap, result.log_likelihood - result.elbo)
        np.testing.assert_allclose(result.kl, exact.kl_to_prior, atol=1e-6)

    def test_monte_carlo_form_agrees(self, example):
        # E_q[log p(x|z) p(z) / q(z|x)], with no closed-form KL.
        vae, images, exact = example
        objective = objectives.ELBO(num_samples=20_000, analytic_kl=False)
        terms = objective(
            tf.constant(images, tf.float64),
            posterior=vae.encode(images),
            prior=vae.prior,
            decode=vae.decode,
            noise=objective.draw_noise(len(images), vae.latent_dim, seed=(0, 3), dtype=tf.float64),
        )
        log_weights = exact.log_joint - exact.log_approximate
        mean = exact.expectation(exact.log_approximate, log_weights)
        variance = exact.expectation(exact.log_approximate, log_weights**2) - mean**2
        np.testing.assert_allclose(mean, exact.elbo, atol=1e-6)
        assert deviations(terms.elbo, exact.elbo, np.sqrt(variance / 20_000)).max() < 3.5

    def test_third_view_on_an_enumerated_data_set(self, example):
        # E_D ELBO = -KL(q(X, Z) || p(X, Z)) - H(D), where q(x, z) = D(x) q(z|x) and H is the
        # entropy, E_D[-log D(x)].
        exact = quadrature_of_all_images(example.vae.latent_dim)
        frequencies = np.random.default_rng(0).dirichlet(np.ones(512))
        log_data = np.log(frequencies)[:, np.newaxis]
        log_ratio = log_data + exact.log_approximate - exact.log_joint
        divergence = np.sum(np.exp(log_data + exact.log_approximate + exact.log_volume) * log_ratio)
        entropy = -np.sum(frequencies * np.log(frequencies))
        elbo = np.sum(frequencies * exact.elbo)
        assert divergence > 0
        assert elbo == pytest.approx(-divergence - entropy, abs=1e-6)

    @pytest.mark.parametrize("latent_dim", [1, 2])
    def test_gradient_is_that_of_the_quadrature(self, latent_dim):
        vae = tiny_vae(latent_dim)
        images = vae.sample(6, seed=1).numpy()
        kernel = vae.decoder.layers[-2].kernel
        direction = np.random.default_rng(0).normal(size=kernel.shape)

        def exact_elbo(step):
            kernel.assign_add(step * direction)
            elbo = np.mean(Quadrature(vae, images).elbo)
            kernel.assign_sub(step * direction)
            return elbo

        step = 1e-4
        slope = (exact_elbo(step) - exact_elbo(-step)) / (2 * step)
        slopes = []
        for seed in range(30):
            with tf.GradientTape() as tape:
                tape.watch(kernel.value)
                elbo = tf.reduce_mean(vae.elbo(images, num_samples=200, seed=seed))
            gradient = tape.gradient(elbo, kernel.value)
            slopes.append(np.sum(gradient * direction))
        error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
        assert error < 0.1 * np.abs(slope)
        assert np.mean(slopes) == pytest.approx(slope, abs=3 * error)


class TestOrder:
    """In expectation, more samples give a tighter bound."""

    @pytest.mark.filterwarnings(UNEVEN_WEIGHTS)
    def test_bounds_are_ordered(self):
        vae, images, exact = tiny_example(2)
        images = np.repeat(images, 100, axis=0)
        means, errors = [], []
        for num_samples in (1, 5, 50, 1000):
            bound = tfvae.log_likelihood(vae, images, num_samples=num_samples, seed=num_samples)
            means.append(np.mean(bound))
            errors.append(np.std(np.reshape(bound, (4, 100)), axis=1).mean() / np.sqrt(400))
        elbo = np.mean(vae.elbo(images, num_samples=100, seed=0))
        assert means[0] == pytest.approx(elbo, abs=4 * errors[0])
        largest = np.mean(exact.log_likelihood)
        for pair, error in zip(itertools.pairwise([*means, largest]), errors, strict=True):
            assert pair[0] < pair[1] + 3 * error
        assert means[0] < means[1] < means[2] < means[3]

    @pytest.mark.slow
    def test_trained_model(self, shared_data_dir):
        import tensorflow_datasets as tfds

        train, test = (
            tfds.load("binarized_mnist", split=split, data_dir=shared_data_dir, batch_size=-1)
            for split in ("train[:20000]", "test[:200]")
        )
        train, test = (np.asarray(part["image"], np.float32) for part in (train, test))
        keras.utils.set_random_seed(0)
        sizes = {"hidden": (200, 200)}
        vae = tfvae.VAE(
            encoder=networks.mlp_encoder((28, 28, 1), 20, **sizes),
            decoder=networks.mlp_decoder((28, 28, 1), 20, **sizes),
        )
        vae.compile(optimizer="adam")
        vae.fit(train, batch_size=128, epochs=15, verbose=0)

        bounds = {"ELBO": vae.elbo(test, num_samples=100, seed=0)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
            for count in (5, 50, 5000):
                bounds[f"IWAE-{count}"] = tfvae.log_likelihood(
                    vae, test, num_samples=count, seed=count
                )
        means = {name: float(np.mean(bound)) for name, bound in bounds.items()}
        print(means)
        assert list(means.values()) == sorted(means.values())

        # On images that the model drew, the upper bound exists too.
        sandwich = inference.sandwich(vae, num_images=100, num_samples=8, num_steps=300, seed=0)
        drawn = sandwich.images
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
            importance = tfvae.log_likelihood(vae, drawn, num_samples=5000, seed=0)
        gap = np.asarray(sandwich.upper - sandwich.lower, np.float64)
        error = np.std(gap, ddof=1) / np.sqrt(len(gap))
        difference = np.mean(sandwich.upper - importance)
        print(
            f"sandwich {gap.mean():.4f} +- {error:.4f}, lower {np.mean(sandwich.lower):.3f}, "
            f"upper {np.mean(sandwich.upper):.3f}, upper - IWAE-5000 {difference:.4f}"
        )
        assert difference > -3 * error
        assert -3 * error < gap.mean() < 0.3


def small_vae(image_shape=(4, 4, 1), latent_dim=2):
    sizes = {"hidden": (8,)}
    return tfvae.VAE(
        encoder=networks.mlp_encoder(image_shape, latent_dim, **sizes),
        decoder=networks.mlp_decoder(image_shape, latent_dim, **sizes),
    )


def black_and_white(image_shape=(4, 4, 1)):
    return np.stack([np.zeros(image_shape), np.ones(image_shape)]).astype("float32")


class TestExtremes:
    @pytest.mark.parametrize(
        "method", ["prior", "importance", pytest.param("annealed", marks=pytest.mark.slow)]
    )
    def test_logits(self, method):
        vae = small_vae()
        # q is the prior, so that all weights are p(x|z).
        vae.encoder.set_weights([np.zeros_like(weights) for weights in vae.encoder.get_weights()])
        for logit in (-1e4, 1e4):
            vae.decoder.layers[-2].bias.assign(tf.fill([16], logit))
            expected = np.array([0.0, -16e4]) if logit < 0 else np.array([-16e4, 0.0])
            result = tfvae.log_likelihood(
                vae, black_and_white(), method, num_samples=12, num_steps=5, seed=0
            )
            np.testing.assert_allclose(result, expected, rtol=1e-2, atol=1)

    @pytest.mark.filterwarnings(UNEVEN_WEIGHTS)
    def test_scales_of_q(self):
        vae = small_vae()
        for scale, unconstrained in ((1e-6, -30.0), (1e6, 1e6)):
            vae.encoder.layers[-1].bias.assign([0.0, 0.0, unconstrained, unconstrained])
            stddev = vae.encode(black_and_white()).stddev().numpy()
            assert 0.5 * scale < stddev.min() < stddev.max() < 2 * scale
            result = inference.evidence(vae, black_and_white(), num_samples=50, seed=0)
            assert all(np.isfinite(number).all() for number in result[:-1])

    @pytest.mark.filterwarnings(UNEVEN_WEIGHTS)
    @pytest.mark.parametrize(
        ("method", "image_shape", "latent_dim"),
        [
            ("importance", (100, 100, 1), 2),
            ("prior", (4, 4, 3), 512),
            ("annealed", (4, 4, 1), 512),
            pytest.param("annealed", (100, 100, 1), 2, marks=pytest.mark.slow),
        ],
    )
    def test_sizes(self, method, image_shape, latent_dim):
        vae = small_vae(image_shape, latent_dim)
        images = black_and_white(image_shape)
        result = tfvae.log_likelihood(
            vae, images, method, num_samples=20, num_steps=3, seed=0, diagnostics=True
        )
        assert all(np.isfinite(number).all() for number in result)

    def test_one_sample_has_no_error(self):
        vae, images, _ = tiny_example(1)
        with pytest.warns(LowEffectiveSampleSizeWarning):
            result = inference.evidence(vae, images, num_samples=1, seed=0)
        assert np.isinf(result.log_likelihood_standard_error).all()
        assert np.isinf(result.elbo_standard_error).all()
        assert np.isfinite(result.log_likelihood).all()


class TestWarning:
    def test_uneven_weights(self):
        vae = tiny_vae(2)
        vae.encoder.layers[-1].bias.assign([6.0, 6.0, -4.0, -4.0])
        with pytest.warns(LowEffectiveSampleSizeWarning, match="effective sample size"):
            tfvae.log_likelihood(vae, all_images()[:3], num_samples=100, seed=0)

    def test_even_weights(self):
        vae, images, _ = tiny_example(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tfvae.log_likelihood(vae, images, num_samples=1000, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_samples": 0}, "num_samples must be an integer of at least 1; got 0"),
        ({"num_samples": 1.5}, "num_samples must be an integer"),
        ({"num_steps": 0, "method": "annealed"}, "num_steps must be an integer"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"method": "magic"}, "method must be one of prior, importance, annealed"),
        ({"images": np.zeros((0, *IMAGE_SHAPE))}, "images are empty"),
        ({"images": np.full((2, *IMAGE_SHAPE), 2.0)}, "0s and 1s"),
        ({"images": np.full((2, *IMAGE_SHAPE), 0.5)}, "cross-entropy"),
        ({"images": np.zeros((2, 4, 4, 1))}, r"shape \[batch, 3, 3, 1\]"),
        ({"images": np.full((2, *IMAGE_SHAPE), np.nan)}, "NaN"),
        ({"images": tf.data.Dataset.from_tensor_slices(np.zeros((0, 3)))}, "empty"),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = {"images": all_images()[:2], "num_samples": 10} | changes
    with pytest.raises(InputError, match=message):
        tfvae.log_likelihood(tiny_example(1).vae, **arguments)
