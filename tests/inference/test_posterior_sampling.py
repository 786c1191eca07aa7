import numpy as np
import pytest
import tensorflow_probability as tfp
from exact import Quadrature, all_images, fitted_vae, tiny_vae

from tfvae import inference
from tfvae.common.errors import InputError
from tfvae.inference import posterior_sampling

tfd = tfp.distributions


@pytest.fixture(scope="module", params=[1, 2])
def vae(request):
    return tiny_vae(request.param)


@pytest.fixture(scope="module")
def images(vae):
    return vae.sample(4, seed=1).numpy()


@pytest.fixture(scope="module")
def exact(vae, images):
    return Quadrature(vae, images)


@pytest.fixture(scope="module")
def moments(exact):
    """The exact mean and variance of the posterior, each `[n, latent_dim]`."""
    mean = np.stack([exact.expectation(exact.log_posterior, z) for z in exact.latents.T], axis=-1)
    second = [exact.expectation(exact.log_posterior, z**2) for z in exact.latents.T]
    return mean, np.stack(second, axis=-1) - mean**2


@pytest.fixture(scope="module")
def samples(vae, images):
    return inference.sample_hmc(vae, images, num_samples=2000, seed=0)


class TestHMC:
    def test_moments_are_those_of_the_quadrature(self, samples, moments):
        mean, variance = moments
        latents = samples.latents.numpy()
        error = np.sqrt(variance / samples.effective_sample_size)
        assert np.abs((latents.mean(axis=(0, 1)) - mean) / error).max() < 3.5
        assert error.max() < 0.1
        # The variance of a normal variable's variance is twice its square.
        relative_error = np.sqrt(2 / samples.effective_sample_size.numpy())
        ratio = latents.var(axis=(0, 1)) / variance
        assert np.abs((ratio - 1) / relative_error).max() < 6

    def test_moments_differ_from_those_of_q(self, vae, images, moments):
        # Or agreeing with the quadrature would prove nothing.
        assert np.abs(vae.encode(images).mean() - moments[0]).max() > 0.3

    def test_diagnostics(self, samples, vae):
        assert samples.latents.shape == (2000, 4, 4, vae.latent_dim)
        assert samples.acceptance_rate.shape == (4,)
        assert (
            np.abs(samples.acceptance_rate - posterior_sampling.TARGET_ACCEPTANCE_RATE).max() < 0.15
        )
        assert samples.potential_scale_reduction.shape == (4, vae.latent_dim)
        assert np.max(samples.potential_scale_reduction) < 1.05
        assert samples.effective_sample_size.shape == (4, vae.latent_dim)
        assert np.min(samples.effective_sample_size) > 100

    def test_seed(self):
        vae = tiny_vae(1)
        first, again, other = (
            inference.sample_hmc(
                vae, all_images()[:2], num_samples=4, num_burnin_steps=5, seed=seed
            ).latents.numpy()
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


class TestResample:
    def test_moments_are_those_of_the_quadrature(self):
        vae = fitted_vae(2)
        images = vae.sample(4, seed=1).numpy()
        exact = Quadrature(vae, images)
        samples = inference.resample(vae, images, num_samples=1000, num_proposals=30_000, seed=0)
        assert samples.latents.shape == (1000, 4, 2)
        assert np.min(samples.effective_sample_size) > 3000
        for dimension, z in enumerate(exact.latents.T):
            mean = exact.expectation(exact.log_posterior, z)
            variance = exact.expectation(exact.log_posterior, z**2) - mean**2
            estimate = samples.latents.numpy()[:, :, dimension].mean(axis=0)
            assert np.abs((estimate - mean) / np.sqrt(variance / 1000)).max() < 4

    def test_passes_of_few_proposals(self, monkeypatch):
        vae = tiny_vae(1)
        whole = inference.resample(vae, all_images()[:3], 10, num_proposals=50, seed=1)
        # Three images at a time, 16 latents of each.
        monkeypatch.setattr("tfvae.inference.batched_estimates._LOGITS_PER_PASS", 9 * 50 * 3)
        monkeypatch.setattr(
            "tfvae.inference.posterior_sampling.latents_per_pass", lambda vae: 3 * 16
        )
        in_parts = inference.resample(vae, all_images()[:3], 10, num_proposals=50, seed=1)
        np.testing.assert_allclose(whole.latents, in_parts.latents)


class TestGaps:
    def test_posterior_gap(self, vae, images, exact):
        result = inference.posterior_gap(vae, images, num_samples=20_000, seed=0)
        errors = np.abs((result.gap - exact.kl_to_posterior) / result.standard_error)
        assert np.max(errors) < 3.5

    def test_refined_q_is_the_best_factorial_normal(self, vae, images, exact):
        refined = inference.refine(vae, images, seed=0)
        best = QuadratureOf(vae, images, refined)
        assert (best.elbo > exact.elbo).all()
        # A step to any side makes it worse, or better by less than the steps' noise leaves open.
        generator = np.random.default_rng(0)
        location, stddev = refined.mean().numpy(), refined.stddev().numpy()
        for _ in range(10):
            shift, stretch = generator.normal(size=(2, *location.shape), scale=0.2)
            other = normal_of(location + shift * stddev, stddev * np.exp(stretch))
            assert (QuadratureOf(vae, images, other).elbo < best.elbo + 4e-3).all()

    def test_parts_sum_to_the_gap(self, vae, images, exact):
        gaps = inference.gaps(vae, images, num_samples=10_000, seed=0)
        error = np.hypot(gaps.approximation_standard_error, gaps.amortization_standard_error)
        total = gaps.approximation + gaps.amortization
        assert np.max(np.abs((total - exact.kl_to_posterior) / error)) < 3.5
        assert np.max(error) < 0.1
        assert np.min(gaps.approximation + 3 * gaps.approximation_standard_error) > 0
        assert np.min(gaps.amortization + 3 * gaps.amortization_standard_error) > 0
        np.testing.assert_allclose(gaps.refined_elbo - gaps.elbo, gaps.amortization)

    def test_model_is_not_changed(self, vae, images):
        before = [weights.copy() for weights in vae.get_weights()]
        inference.refine(vae, images, num_steps=3, seed=0)
        for weights, kept in zip(vae.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weights, kept)


class QuadratureOf(Quadrature):
    """The quadrature with another q(Z|x) than the encoder's."""

    def __init__(self, vae, images, approximate_posterior):
        super().__init__(vae, images)
        self.log_approximate = approximate_posterior.log_prob(self.latents[:, np.newaxis]).numpy().T


def normal_of(location, stddev):
    return tfd.Independent(tfd.Normal(location, stddev), 1)


class TestBadInput:
    @pytest.mark.parametrize(
        ("function", "settings", "message"),
        [
            (
                inference.sample_hmc,
                {"num_samples": 3},
                "num_samples must be an integer of at least 4",
            ),
            (inference.sample_hmc, {"num_chains": 0}, "num_chains"),
            (inference.sample_hmc, {"seed": -1}, "seed"),
            (inference.resample, {"num_proposals": 0}, "num_proposals"),
            (inference.posterior_gap, {"num_samples": 0}, "num_samples"),
            (inference.refine, {"num_steps": 0}, "num_steps"),
            (inference.gaps, {"num_samples": 0}, "num_samples"),
        ],
    )
    def test_is_refused(self, function, settings, message):
        with pytest.raises(InputError, match=message):
            function(tiny_vae(1), all_images()[:2], **settings)

    @pytest.mark.parametrize(
        "function",
        [inference.sample_hmc, inference.resample, inference.refine, inference.gaps],
    )
    def test_grey_images_are_refused(self, function):
        with pytest.raises(InputError, match="cross-entropy"):
            function(tiny_vae(1), np.full((2, 3, 3, 1), 0.5))
