import numpy as np
import pytest
from quadrature import fitted_example, tiny_example

from tfvae import inference
from tfvae.common.errors import InputError


def exact_moments(exact):
    """The mean and the variance of the posterior, each `[n, latent_dim]`."""
    mean = np.stack([exact.expectation(exact.log_posterior, z) for z in exact.latents.T], axis=-1)
    second = [exact.expectation(exact.log_posterior, z**2) for z in exact.latents.T]
    return mean, np.stack(second, axis=-1) - mean**2


@pytest.fixture(scope="module", params=[1, 2])
def example(request):
    return tiny_example(request.param)


@pytest.fixture(scope="module")
def samples(example):
    return inference.sample_hmc(example.vae, example.images, num_samples=1000, seed=0)


class TestHMC:
    def test_moments_are_those_of_the_quadrature(self, samples, example):
        mean, variance = exact_moments(example.exact)
        latents = samples.latents.numpy()
        error = np.sqrt(variance / samples.effective_sample_size)
        assert np.abs((latents.mean(axis=(0, 1)) - mean) / error).max() < 3.5
        assert error.max() < 0.1
        # The variance of a normal variable's variance is twice its square.
        relative_error = np.sqrt(2 / samples.effective_sample_size.numpy())
        ratio = latents.var(axis=(0, 1)) / variance
        assert np.abs((ratio - 1) / relative_error).max() < 6

    def test_moments_differ_from_those_of_q(self, example):
        # Or agreeing with the quadrature would prove nothing.
        mean, _ = exact_moments(example.exact)
        assert np.abs(example.vae.encode(example.images).mean() - mean).max() > 0.3

    def test_diagnostics(self, samples, example):
        latent_dim = example.vae.latent_dim
        assert samples.latents.shape == (1000, 4, 4, latent_dim)
        assert samples.acceptance_rate.shape == (4,)
        assert np.abs(samples.acceptance_rate - 0.75).max() < 0.15
        assert samples.potential_scale_reduction.shape == (4, latent_dim)
        assert np.max(samples.potential_scale_reduction) < 1.05
        assert samples.effective_sample_size.shape == (4, latent_dim)
        assert np.min(samples.effective_sample_size) > 100

    def test_same_seed_gives_the_same_samples(self, samples):
        vae, images, _ = tiny_example(1)
        first, again, other = (
            inference.sample_hmc(
                vae, images, num_samples=4, num_burnin_steps=5, seed=seed
            ).latents.numpy()
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


class TestResample:
    def test_moments_are_those_of_the_quadrature(self):
        vae, images, exact = fitted_example(2)
        samples = inference.resample(vae, images, num_samples=1000, num_proposals=30_000, seed=0)
        assert samples.latents.shape == (1000, 6, 2)
        assert np.min(samples.effective_sample_size) > 3000
        mean, variance = exact_moments(exact)
        estimate = samples.latents.numpy().mean(axis=0)
        assert np.abs((estimate - mean) / np.sqrt(variance / 1000)).max() < 4

    def test_passes_of_few_proposals(self, monkeypatch):
        vae, images, _ = tiny_example(1)
        whole = inference.resample(vae, images, 10, num_proposals=50, seed=1)
        # All images at a time, 16 latents of each.
        monkeypatch.setattr("tfvae.inference.posterior_sampling.latents_per_pass", lambda _: 4 * 16)
        in_parts = inference.resample(vae, images, 10, num_proposals=50, seed=1)
        np.testing.assert_allclose(whole.latents, in_parts.latents)


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (inference.sample_hmc, {"num_samples": 3}, "num_samples must be an integer of at least 4"),
        (inference.sample_hmc, {"num_chains": 0}, "num_chains"),
        (inference.sample_hmc, {"seed": -1}, "seed"),
        (inference.resample, {"num_proposals": 0}, "num_proposals"),
        (inference.sample_hmc, {"images": np.full((2, 3, 3, 1), 0.5)}, "cross-entropy"),
        (inference.resample, {"images": np.full((2, 3, 3, 1), 0.5)}, "cross-entropy"),
    ],
)
def test_bad_input_is_refused(function, settings, message):
    vae, images, _ = tiny_example(1)
    with pytest.raises(InputError, match=message):
        function(vae, **{"images": images} | settings)
