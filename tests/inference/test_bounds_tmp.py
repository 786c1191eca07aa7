import numpy as np
import pytest
from exact import Quadrature, tiny_vae

from tfvae import inference
from tfvae.common.errors import InputError


@pytest.fixture(scope="module")
def model_and_images():
    vae = tiny_vae(2)
    return vae, vae.sample(30, seed=0).numpy()


@pytest.fixture(scope="module")
def result(model_and_images):
    num_samples = {"prior": (1, 1000), "importance": (1, 1000), "annealed": (1, 8)}
    return inference.bounds_by_num_samples(*model_and_images, num_samples, num_steps=30)


def test_bounds_close_in_on_the_truth(result, model_and_images):
    truth = np.mean(Quadrature(*model_and_images).log_likelihood)
    assert set(result) == {"prior", "importance", "annealed"}
    for bound in result.values():
        assert bound.mean[0] < bound.mean[1]
        assert abs(bound.mean[1] - truth) < max(4 * bound.standard_error[1], 0.01)


def test_unknown_method_is_refused(model_and_images):
    with pytest.raises(InputError, match="method"):
        inference.bounds_by_num_samples(*model_and_images, {"magic": [1]})
