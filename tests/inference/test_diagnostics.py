import json
import math

import numpy as np
import pytest
import tensorflow as tf
from quadrature import Quadrature, all_images, fitted_example, tiny_example
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

from tfvae.common.errors import InputError
from tfvae.distributions.factorial import standard_normal
from tfvae.inference import diagnostics


def normal_of(location, stddev):
    parameters = (tf.constant(part, tf.float64) for part in np.broadcast_arrays(location, stddev))
    return tfd.Independent(tfd.Normal(*parameters), reinterpreted_batch_ndims=1)


PRIOR = standard_normal(2, dtype=tf.float64)


class TestKLPerDimension:
    def test_sums_to_the_kl(self):
        vae = tiny_example(2).vae
        posterior = vae.encode(all_images())
        result = diagnostics.kl_per_dimension(posterior, vae.prior)
        kl = tf.reduce_mean(tfd.kl_divergence(posterior, vae.prior))
        assert result.shape == (2,)
        np.testing.assert_allclose(np.sum(result), kl)
        per_image = diagnostics.kl_per_dimension(posterior, vae.prior, per_image=True)
        assert per_image.shape == (512, 2)
        np.testing.assert_allclose(np.mean(per_image, axis=0), result)

    def test_is_per_dimension(self):
        # KL(N(m, s) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s.
        result = diagnostics.kl_per_dimension(normal_of([[1.0, 0.0]], [[1.0, 2.0]]), PRIOR)
        np.testing.assert_allclose(result, [0.5, 1.5 - math.log(2)])


class TestActiveUnits:
    def test_variance_of_means_decides(self):
        means = np.stack([np.array([-0.2, 0.2] * 5), np.array([-0.05, 0.05] * 5)], axis=1)
        result = diagnostics.active_units(normal_of(means, 1.0))
        np.testing.assert_array_equal(result, [True, False])


class TestBitsPerDimension:
    def test_fair_coins_take_one_bit_per_pixel(self):
        log_likelihood = np.array([-9 * math.log(2)])
        result = diagnostics.bits_per_dimension(log_likelihood, (3, 3, 1))
        np.testing.assert_allclose(result, 1.0)


class TestKLParts:
    @pytest.mark.parametrize("correlated", [False, True])
    def test_agree_with_quadrature(self, correlated):
        generator = np.random.default_rng(0)
        location = generator.normal(size=(7, 2))
        if correlated:
            location[:, 1] = location[:, 0] + 0.2 * location[:, 1]
        stddev = generator.uniform(0.3, 0.8, size=(7, 2))
        parts = diagnostics.kl_parts(
            normal_of(location, stddev), PRIOR, num_samples=7 * 3000, seed=0
        )
        # The entropies of q(z), its marginals and q(z|x) on a grid.
        axis = np.linspace(-8, 8, 321)
        spacing = axis[1] - axis[0]
        log_conditional = -0.5 * ((axis - location[..., np.newaxis]) / stddev[..., np.newaxis]) ** 2
        log_conditional -= np.log(stddev[..., np.newaxis] * np.sqrt(2 * np.pi))
        joint = log_conditional[:, 0, :, np.newaxis] + log_conditional[:, 1, np.newaxis, :]
        log_joint = logsumexp(joint, axis=0) - math.log(7)
        log_marginals = logsumexp(log_conditional, axis=0) - math.log(7)
        joint_entropy = -np.sum(np.exp(log_joint) * log_joint) * spacing**2
        marginal_entropies = -np.sum(np.exp(log_marginals) * log_marginals) * spacing
        conditional_entropy = np.mean(np.sum(np.log(stddev * np.sqrt(2 * np.pi * np.e)), axis=1))
        cross_entropy = np.mean(np.sum(0.5 * (location**2 + stddev**2 + np.log(2 * np.pi)), axis=1))
        for name, truth in (
            ("mutual_information", joint_entropy - conditional_entropy),
            ("total_correlation", marginal_entropies - joint_entropy),
            ("dimension_wise_kl", cross_entropy - marginal_entropies),
        ):
            error = float(getattr(parts, f"{name}_standard_error"))
            assert error < 0.02
            assert float(getattr(parts, name)) == pytest.approx(truth, abs=3.5 * error)
        assert correlated == (float(parts.total_correlation) > 0.3)

    def test_sum_to_the_kl(self):
        vae = tiny_example(2).vae
        posterior = vae.encode(all_images())
        parts = diagnostics.kl_parts(posterior, vae.prior, num_samples=5120, seed=0)
        kl = tf.reduce_mean(tfd.kl_divergence(posterior, vae.prior))
        error = np.sqrt(np.sum(np.square(parts[3:])))
        assert np.sum(parts[:3]) == pytest.approx(float(kl), abs=4 * error)

    def test_passes(self, monkeypatch):
        posterior = tiny_example(2).vae.encode(all_images()[:5])
        whole = diagnostics.kl_parts(posterior, PRIOR, num_samples=23, seed=0)
        monkeypatch.setattr(diagnostics, "_TERMS_PER_PASS", 40)
        np.testing.assert_allclose(
            diagnostics.kl_parts(posterior, PRIOR, num_samples=23, seed=0), whole
        )

    @pytest.mark.parametrize("num_samples", [0, 1])
    def test_too_few_samples_are_refused(self, num_samples):
        posterior = tiny_example(2).vae.encode(all_images()[:5])
        with pytest.raises(InputError, match="num_samples"):
            diagnostics.kl_parts(posterior, PRIOR, num_samples=num_samples)


class TestEvaluate:
    def test_agrees_with_quadrature(self):
        vae = fitted_example(2).vae
        images = vae.sample(40, seed=0).numpy()
        exact = Quadrature(vae, images)
        batches = tf.data.Dataset.from_tensor_slices(images).batch(16)
        numbers = diagnostics.evaluate(vae, batches, num_samples=3000, seed=0)
        json.dumps(numbers, allow_nan=False)
        assert numbers["num_images"] == 40
        assert numbers["num_importance_samples"] == 3000
        assert numbers["kl"] == pytest.approx(np.mean(exact.kl_to_prior), abs=1e-6)
        assert sum(numbers["kl_per_dimension"]) == pytest.approx(numbers["kl"])
        assert numbers["active_units"] == 2
        for name, truth in (
            ("log_likelihood", exact.log_likelihood),
            ("posterior_gap", exact.kl_to_posterior),
        ):
            error = numbers[f"{name}_monte_carlo_stderr"]
            assert error < 0.02
            assert numbers[name] == pytest.approx(np.mean(truth), abs=3.5 * error)
            spread = np.std(truth, ddof=1) / np.sqrt(40)
            assert numbers[f"{name}_stderr"] == pytest.approx(spread, rel=0.2)
        assert numbers["elbo"] == pytest.approx(numbers["reconstruction"] - numbers["kl"])
        assert numbers["bits_per_dim"] == pytest.approx(
            -numbers["log_likelihood"] / (9 * math.log(2))
        )
        parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
        error = math.hypot(*(numbers[f"{part}_stderr"] for part in parts))
        assert sum(numbers[part] for part in parts) == pytest.approx(numbers["kl"], abs=4 * error)

    @pytest.mark.filterwarnings("ignore::tfvae.inference.LowEffectiveSampleSizeWarning")
    def test_one_image_and_one_sample_give_valid_json(self):
        vae = tiny_example(1).vae
        numbers = diagnostics.evaluate(vae, all_images()[:1], num_samples=1, seed=0)
        json.dumps(numbers, allow_nan=False)
        assert numbers["elbo_stderr"] is None
