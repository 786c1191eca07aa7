import numpy as np
import pytest
from quadrature import Quadrature, tiny_example
from tensorflow_probability import distributions as tfd

from tfvae import inference
from tfvae.common.errors import InputError


@pytest.fixture(scope="module", params=[1, 2])
def example(request):
    return tiny_example(request.param)


class QuadratureOf(Quadrature):
    """The quadrature with another q(Z|x) than the encoder's."""

    def __init__(self, example, approximate_posterior):
        super().__init__(example.vae, example.images)
        self.log_approximate = approximate_posterior.log_prob(self.latents[:, np.newaxis]).numpy().T


def test_posterior_gap_is_that_of_the_quadrature(example):
    result = inference.evidence(example.vae, example.images, num_samples=20_000, seed=0)
    errors = result.posterior_gap - example.exact.kl_to_posterior
    assert np.max(np.abs(errors / result.posterior_gap_standard_error)) < 3.5


def test_refined_q_is_the_best_factorial_normal(example):
    vae, images, exact = example
    before = [weights.copy() for weights in vae.get_weights()]
    refined = inference.refine(vae, images, seed=0)
    for weights, kept in zip(vae.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, kept)
    best = QuadratureOf(example, refined)
    assert (best.elbo > exact.elbo).all()
    # A step to any side makes it worse, or better by less than the steps' noise leaves open.
    generator = np.random.default_rng(0)
    mean, stddev = refined.mean().numpy(), refined.stddev().numpy()
    for _ in range(10):
        shift, stretch = generator.normal(size=(2, *mean.shape), scale=0.2)
        other = tfd.Normal(mean + shift * stddev, stddev * np.exp(stretch))
        elbo = QuadratureOf(example, tfd.Independent(other, 1)).elbo
        assert (elbo < best.elbo + 4e-3).all()


def test_refining_again_compiles_nothing_again(example):
    from tfvae.inference.variational_gaps import _maximize_elbo

    inference.refine(example.vae, example.images, num_steps=3, seed=0)
    count = _maximize_elbo.experimental_get_tracing_count()
    inference.refine(example.vae, example.images, num_steps=4, num_samples=5, learning_rate=0.1)
    assert _maximize_elbo.experimental_get_tracing_count() == count


def test_parts_sum_to_the_gap(example):
    gaps = inference.gaps(example.vae, example.images, num_samples=10_000, seed=0)
    error = np.hypot(gaps.approximation_standard_error, gaps.amortization_standard_error)
    total = gaps.approximation + gaps.amortization
    assert np.max(np.abs((total - example.exact.kl_to_posterior) / error)) < 3.5
    assert np.max(error) < 0.1
    assert np.min(gaps.approximation + 3 * gaps.approximation_standard_error) > 0
    assert np.min(gaps.amortization + 3 * gaps.amortization_standard_error) > 0
    np.testing.assert_allclose(gaps.refined_elbo - gaps.elbo, gaps.amortization)


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (inference.refine, {"num_steps": 0}, "num_steps"),
        (inference.gaps, {"num_samples": 0}, "num_samples"),
        (inference.refine, {"images": np.full((2, 3, 3, 1), 0.5)}, "cross-entropy"),
        (inference.gaps, {"images": np.full((2, 3, 3, 1), 0.5)}, "cross-entropy"),
    ],
)
def test_bad_input_is_refused(function, settings, message):
    vae, images, _ = tiny_example(1)
    with pytest.raises(InputError, match=message):
        function(vae, **{"images": images} | settings)
