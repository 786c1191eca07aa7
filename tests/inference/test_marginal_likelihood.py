import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from exact import IMAGE_SHAPE, Quadrature, all_images, fitted_vae, tiny_vae

import tfvae
from tfvae import inference, networks, objectives
from tfvae.common.errors import InputError
from tfvae.inference import LowEffectiveSampleSizeWarning


@pytest.fixture(scope="module", params=[1, 2])
def vae(request):
    return fitted_vae(request.param)


@pytest.fixture(scope="module")
def images(vae):
    return vae.sample(6, seed=1).numpy()


@pytest.fixture(scope="module")
def exact(vae, images):
    return Quadrature(vae, images)


def deviations(estimate, truth, standard_error):
    return np.abs((np.asarray(estimate) - truth) / np.asarray(standard_error))


class TestQuadrature:
    """The yardstick itself."""

    def test_has_converged(self, vae, images, exact):
        half = len(exact.latents[:, 0]) ** (1 / vae.latent_dim) / 2
        coarse = Quadrature(vae, images, points=int(half))
        np.testing.assert_allclose(exact.log_likelihood, coarse.log_likelihood, atol=1e-9)

    def test_probabilities_of_all_images_sum_to_one(self, vae):
        total = np.sum(np.exp(Quadrature(vae, all_images()).log_likelihood))
        assert total == pytest.approx(1.0, abs=1e-9)

    def test_posterior_is_neither_prior_nor_q(self, exact):
        distance = exact.expectation(exact.log_posterior, exact.log_posterior - exact.log_prior)
        assert distance.max() > 0.3
        assert exact.kl_to_posterior.max() > 0.02


class TestExactness:
    @pytest.mark.parametrize("method", ["importance", "prior"])
    def test_samples(self, vae, images, exact, method):
        estimate = tfvae.log_likelihood(
            vae, images, method=method, num_samples=10_000, seed=4, diagnostics=True
        )
        errors = deviations(estimate.log_likelihood, exact.log_likelihood, estimate.standard_error)
        assert errors.max() < 3
        assert np.abs(estimate.log_likelihood - exact.log_likelihood).max() < (
            0.02 if method == "importance" else 0.05
        )

    def test_chains(self, vae, images, exact):
        estimate = tfvae.log_likelihood(
            vae, images, method="annealed", num_samples=400, num_steps=100, seed=0, diagnostics=True
        )
        errors = deviations(estimate.log_likelihood, exact.log_likelihood, estimate.standard_error)
        assert errors.max() < 3.5
        assert np.abs(estimate.log_likelihood - exact.log_likelihood).max() < 0.05

    def test_estimated_probabilities_of_all_images_sum_to_one(self, vae):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
            estimate = tfvae.log_likelihood(
                vae, all_images(), num_samples=2000, seed=0, diagnostics=True
            )
        probabilities = np.exp(estimate.log_likelihood)
        error = np.sqrt(np.sum((probabilities * estimate.standard_error) ** 2))
        assert error < 0.01
        assert np.sum(probabilities) == pytest.approx(1.0, abs=3 * error)

    def test_standard_error_is_the_spread_over_seeds(self, vae, images):
        estimates = [
            tfvae.log_likelihood(vae, images[:2], num_samples=500, seed=seed, diagnostics=True)
            for seed in range(60)
        ]
        spread = np.std([estimate.log_likelihood for estimate in estimates], axis=0, ddof=1)
        stated = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates], axis=0))
        # The standard deviation of 60 values is known to 9 %, of heavy tails to somewhat less.
        np.testing.assert_allclose(stated, spread, rtol=0.35)

    @pytest.mark.parametrize("start", ["encoder", "prior"])
    def test_sandwich_holds_the_truth(self, vae, start):
        bounds = inference.sandwich(
            vae, num_images=8, num_samples=100, num_steps=50, start=start, seed=0
        )
        truth = Quadrature(vae, bounds.images.numpy()).log_likelihood
        assert deviations(bounds.lower, truth, bounds.lower_standard_error).max() < 3.5
        # The chains of an image start from one posterior sample, which its error does not know.
        mean_error = np.std(bounds.upper - truth, ddof=1) / np.sqrt(8)
        assert np.abs(np.mean(bounds.upper - truth)) < 3 * mean_error
        assert np.abs(bounds.upper - bounds.lower).max() < 0.3

    def test_few_temperatures_open_the_sandwich_to_the_right_side(self, vae):
        bounds = inference.sandwich(
            vae, num_images=60, num_samples=1, num_steps=2, start="prior", seed=0
        )
        truth = Quadrature(vae, bounds.images.numpy()).log_likelihood
        for gap in (truth - bounds.lower, bounds.upper - truth):
            assert np.mean(gap) > 2 * np.std(gap, ddof=1) / np.sqrt(60)


class TestViewsOfTheELBO:
    def test_first_and_second_view_agree(self, exact):
        np.testing.assert_allclose(exact.elbo, exact.reconstruction - exact.kl_to_prior, atol=1e-6)

    def test_closed_form_kl(self, vae, images, exact):
        result = inference.evidence(vae, images, num_samples=200, seed=0)
        np.testing.assert_allclose(result.kl, exact.kl_to_prior, atol=1e-6)

    def test_estimates_agree(self, vae, images, exact):
        result = inference.evidence(vae, images, num_samples=20_000, seed=2)
        for name, truth in (("elbo", exact.elbo), ("posterior_gap", exact.kl_to_posterior)):
            error = getattr(result, f"{name}_standard_error")
            assert deviations(getattr(result, name), truth, error).max() < 3.5
            assert np.max(error) < 0.05
        error = result.elbo_standard_error
        assert deviations(result.reconstruction, exact.reconstruction, error).max() < 3.5
        np.testing.assert_allclose(result.posterior_gap, result.log_likelihood - result.elbo)

    def test_gap_error_is_the_spread_over_seeds(self, vae, images):
        results = [
            inference.evidence(vae, images[:2], num_samples=500, seed=seed) for seed in range(60)
        ]
        spread = np.std([result.posterior_gap for result in results], axis=0, ddof=1)
        stated = np.mean([result.posterior_gap_standard_error for result in results], axis=0)
        np.testing.assert_allclose(stated, spread, rtol=0.35)

    def test_monte_carlo_form_agrees(self, vae, images, exact):
        # E_q[log p(x|z) p(z) / q(z|x)], with no closed-form KL.
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

    def test_third_view_on_an_enumerated_data_set(self, vae):
        # E_D ELBO = -KL(q(X, Z) || p(X, Z)) - H(D), where q(x, z) = D(x) q(z|x) and H is the
        # entropy, E_D[-log D(x)].
        images = all_images()
        exact = Quadrature(vae, images)
        frequencies = np.random.default_rng(0).dirichlet(np.ones(len(images)))
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


class TestPasses:
    def test_sums_do_not_depend_on_the_passes(self, monkeypatch):
        # What is summed differs with the passes, what is estimated does not.
        vae = tiny_vae(2)
        images = vae.sample(5, seed=0).numpy()
        exact = Quadrature(vae, images).log_likelihood
        for logits in (9, 9 * 64, 9 * 1000):
            monkeypatch.setattr("tfvae.inference.batched_estimates._LOGITS_PER_PASS", logits)
            estimate = tfvae.log_likelihood(vae, images, num_samples=999, seed=3, diagnostics=True)
            assert deviations(estimate.log_likelihood, exact, estimate.standard_error).max() < 3.5

    def test_number_of_samples_is_kept(self, monkeypatch):
        # q = p(Z|x) = p(Z) for a decoder that ignores z: all weights are p(x), and K of them count.
        vae = tiny_vae(1)
        vae.decoder.set_weights([np.zeros_like(weights) for weights in vae.decoder.get_weights()])
        vae.encoder.set_weights([np.zeros_like(weights) for weights in vae.encoder.get_weights()])
        monkeypatch.setattr("tfvae.inference.batched_estimates._LOGITS_PER_PASS", 9 * 7)
        estimate = tfvae.log_likelihood(vae, all_images()[:3], num_samples=101, diagnostics=True)
        np.testing.assert_allclose(estimate.log_likelihood, -9 * np.log(2), atol=1e-4)
        np.testing.assert_allclose(estimate.effective_sample_size, 101, rtol=1e-3)

    def test_data_set_gives_all_results_in_order(self):
        vae = tiny_vae(1)
        images = vae.sample(50, seed=0).numpy()
        exact = Quadrature(vae, images).log_likelihood
        batches = tf.data.Dataset.from_tensor_slices((images, np.arange(50))).batch(8)
        estimate = tfvae.log_likelihood(vae, batches, num_samples=2000, seed=0, diagnostics=True)
        assert estimate.log_likelihood.shape == (50,)
        assert deviations(estimate.log_likelihood, exact, estimate.standard_error).max() < 4

    def test_progress_is_shown_on_request(self, capsys):
        vae = tiny_vae(1)
        images = vae.sample(3, seed=0).numpy()
        tfvae.log_likelihood(vae, images, num_samples=100)
        assert capsys.readouterr().err == ""
        tfvae.log_likelihood(vae, tf.data.Dataset.from_tensors(images), num_samples=100)
        assert "100%" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
    def test_seed(self):
        vae = tiny_vae(1)
        images = vae.sample(3, seed=0).numpy()
        for method in ("prior", "importance", "annealed"):
            settings = {"method": method, "num_samples": 20, "num_steps": 5}
            first, again, other = (
                tfvae.log_likelihood(vae, images, seed=seed, **settings).numpy()
                for seed in (1, 1, 2)
            )
            np.testing.assert_array_equal(first, again)
            assert (first != other).all()


class TestOrder:
    """In expectation, more samples give a tighter bound."""

    def test_bounds_are_ordered(self):
        vae = tiny_vae(2)
        images = np.repeat(vae.sample(4, seed=0).numpy(), 100, axis=0)
        exact = Quadrature(vae, images[::100]).log_likelihood.mean()
        means, errors = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowEffectiveSampleSizeWarning)
            for num_samples in (1, 5, 50, 1000):
                bound = tfvae.log_likelihood(vae, images, num_samples=num_samples, seed=num_samples)
                means.append(np.mean(bound))
                errors.append(np.std(np.reshape(bound, (4, 100)), axis=1).mean() / np.sqrt(400))
        elbo = np.mean(vae.elbo(images, num_samples=100, seed=0))
        assert means[0] == pytest.approx(elbo, abs=4 * errors[0])
        for (lower, upper), error in zip(itertools.pairwise([*means, exact]), errors, strict=True):
            assert lower < upper + 3 * error
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


class TestExtremes:
    @pytest.mark.parametrize("method", ["prior", "importance", "annealed"])
    @pytest.mark.parametrize("logit", [-1e4, 1e4])
    def test_logits(self, method, logit):
        vae = tfvae.VAE((4, 4, 1), latent_dim=2)
        vae.decoder.layers[-2].bias.assign(tf.fill([16], logit))
        # All black and all white.
        images = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).astype("float32")
        result = tfvae.log_likelihood(
            vae, images, method=method, num_samples=12, num_steps=5, seed=0
        ).numpy()
        expected = np.array([0.0, -16e4]) if logit < 0 else np.array([-16e4, 0.0])
        np.testing.assert_allclose(result, expected, rtol=1e-2, atol=1)

    @pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_scales_of_q(self, scale):
        vae = tfvae.VAE((4, 4, 1), latent_dim=2)
        unconstrained = -30.0 if scale < 1 else scale
        layer = vae.encoder.layers[-1]
        layer.bias.assign([0.0, 0.0, unconstrained, unconstrained])
        images = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).astype("float32")
        stddev = vae.encode(images).stddev().numpy()
        assert 0.5 * scale < stddev.min() < stddev.max() < 2 * scale
        result = inference.evidence(vae, images, num_samples=50, seed=0)
        for number in result[:-1]:
            assert np.isfinite(number).all()

    @pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
    @pytest.mark.parametrize("method", ["prior", "importance", "annealed"])
    @pytest.mark.parametrize(
        ("image_shape", "latent_dim"), [((100, 100, 1), 2), ((4, 4, 1), 1), ((4, 4, 1), 512)]
    )
    def test_sizes(self, method, image_shape, latent_dim):
        vae = tfvae.VAE(image_shape, latent_dim)
        images = np.stack([np.zeros(image_shape), np.ones(image_shape)]).astype("float32")
        result = tfvae.log_likelihood(
            vae, images, method=method, num_samples=20, num_steps=3, seed=0, diagnostics=True
        )
        assert all(np.isfinite(number).all() for number in result)

    def test_one_sample_has_no_error(self):
        vae = tiny_vae(1)
        with pytest.warns(LowEffectiveSampleSizeWarning):
            result = inference.evidence(vae, all_images()[:2], num_samples=1, seed=0)
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
        vae = tiny_vae(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tfvae.log_likelihood(vae, vae.sample(3, seed=0), num_samples=1000, seed=0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_samples": 0}, "num_samples must be an integer of at least 1; got 0"),
            ({"num_samples": 1.5}, "num_samples must be an integer"),
            ({"num_steps": 0, "method": "annealed"}, "num_steps must be an integer"),
            ({"seed": -1}, "seed must be an integer from 0"),
            ({"method": "magic"}, "method must be one of prior, importance, annealed"),
            ({"images": np.zeros((0, *IMAGE_SHAPE))}, "images are empty"),
            ({"images": np.full((2, *IMAGE_SHAPE), 2.0)}, r"floats in \[0, 1\]"),
            ({"images": np.full((2, *IMAGE_SHAPE), 0.5)}, "cross-entropy"),
            ({"images": np.zeros((2, 4, 4, 1))}, r"shape \[batch, 3, 3, 1\]"),
            ({"images": np.full((2, *IMAGE_SHAPE), np.nan)}, "NaN"),
            ({"images": tf.data.Dataset.from_tensor_slices(np.zeros((0, 3)))}, "empty"),
        ],
    )
    def test_is_refused(self, changes, message):
        arguments = {"images": all_images()[:2], "num_samples": 10} | changes
        with pytest.raises(InputError, match=message):
            tfvae.log_likelihood(tiny_vae(1), **arguments)

    def test_of_the_sandwich(self):
        with pytest.raises(InputError, match="num_images"):
            inference.sandwich(tiny_vae(1), num_images=0)
        with pytest.raises(InputError, match="start"):
            inference.sandwich(tiny_vae(1), start="nowhere")
