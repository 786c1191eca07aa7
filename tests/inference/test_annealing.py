import numpy as np
import pytest
from quadrature import Quadrature, fitted_example

import tfvae
from tfvae import inference
from tfvae.common.errors import InputError


def deviations(estimate, truth, standard_error):
    return np.abs((np.asarray(estimate) - truth) / np.asarray(standard_error))


@pytest.mark.parametrize("latent_dim", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_chains_give_the_exact_likelihood(latent_dim):
    vae, images, exact = fitted_example(latent_dim)
    estimate = tfvae.log_likelihood(
        vae, images, "annealed", num_samples=300, num_steps=50, seed=0, diagnostics=True
    )
    errors = deviations(estimate.log_likelihood, exact.log_likelihood, estimate.standard_error)
    assert errors.max() < 3.5
    assert np.abs(estimate.log_likelihood - exact.log_likelihood).max() < 0.05


@pytest.mark.parametrize(
    ("latent_dim", "start"),
    [
        (1, "prior"),
        (2, "encoder"),
        pytest.param(1, "encoder", marks=pytest.mark.slow),
        pytest.param(2, "prior", marks=pytest.mark.slow),
    ],
)
def test_sandwich_holds_the_truth(latent_dim, start):
    vae = fitted_example(latent_dim).vae
    bounds = inference.sandwich(
        vae, num_images=8, num_samples=100, num_steps=50, start=start, seed=0
    )
    truth = Quadrature(vae, bounds.images.numpy()).log_likelihood
    assert deviations(bounds.lower, truth, bounds.lower_standard_error).max() < 3.5
    # The chains of an image start from one posterior sample, which its error does not know.
    mean_error = np.std(bounds.upper - truth, ddof=1) / np.sqrt(8)
    assert np.abs(np.mean(bounds.upper - truth)) < 3 * mean_error
    assert np.abs(bounds.upper - bounds.lower).max() < 0.3


def test_few_temperatures_open_the_sandwich_to_the_right_side():
    vae = fitted_example(1).vae
    bounds = inference.sandwich(
        vae, num_images=60, num_samples=1, num_steps=2, start="prior", seed=0
    )
    truth = Quadrature(vae, bounds.images.numpy()).log_likelihood
    for gap in (truth - bounds.lower, bounds.upper - truth):
        assert np.mean(gap) > 2 * np.std(gap, ddof=1) / np.sqrt(60)


def test_passes_of_few_chains_give_the_same_expectation(monkeypatch):
    vae, images, exact = fitted_example(1)
    monkeypatch.setattr("tfvae.inference.annealing.latents_per_pass", lambda vae: 6 * 16)
    estimate = tfvae.log_likelihood(
        vae, images, "annealed", num_samples=100, num_steps=20, seed=0, diagnostics=True
    )
    errors = deviations(estimate.log_likelihood, exact.log_likelihood, estimate.standard_error)
    assert errors.max() < 3.5


def test_bad_input_is_refused():
    vae = fitted_example(1).vae
    with pytest.raises(InputError, match="num_images"):
        inference.sandwich(vae, num_images=0)
    with pytest.raises(InputError, match="start must be one of encoder, prior; got 'nowhere'"):
        inference.sandwich(vae, start="nowhere")
