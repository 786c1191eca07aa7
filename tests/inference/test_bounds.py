import numpy as np
import pytest
from exact import Quadrature, tiny_vae

from tfvae.common.errors import InputError
from tfvae.inference import bounds


@pytest.fixture(scope="module")
def model_and_images():
    vae = tiny_vae(2)
    return vae, vae.sample(30, seed=0).numpy()


@pytest.fixture(scope="module")
def result(model_and_images):
    num_samples = {"prior": (1, 1000), "importance": (1, 1000), "annealed": (1, 8)}
    return bounds.bounds_by_num_samples(*model_and_images, num_samples, num_steps=30)


def test_bounds_close_in_on_the_truth(result, model_and_images):
    truth = np.mean(Quadrature(*model_and_images).log_likelihood)
    assert set(result) == {"prior", "importance", "annealed"}
    for bound in result.values():
        assert bound.mean[0] < bound.mean[1]
        assert abs(bound.mean[1] - truth) < max(4 * bound.standard_error[1], 0.01)


def test_figure_shows_every_bound(result, tmp_path):
    figure = bounds.bound_against_num_samples(result, num_steps=30)
    assert "nats" in figure.axes[0].get_ylabel()
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        lines = [container.lines[0] for container in axes.containers]
        for line, bound in zip(lines, result.values(), strict=True):
            np.testing.assert_allclose(line.get_xydata().T, bound[:2])
    low, high = figure.axes[1].get_ylim()
    for method in ("importance", "annealed"):
        assert low < result[method].mean.min() < result[method].mean.max() < high
    figure.savefig(tmp_path / "bounds.png")
    assert (tmp_path / "bounds.png").stat().st_size > 10_000


def test_unknown_method_is_refused(model_and_images):
    with pytest.raises(InputError, match="method"):
        bounds.bounds_by_num_samples(*model_and_images, {"magic": [1]})
