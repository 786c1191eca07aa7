"""The numbers of a page in a real browser are those of Python."""

import keras
import numpy as np
import pytest
from small_models import binary_images

import tfvae
from tfvae import explorer
from tfvae.distributions import importance

NUM_SAMPLES = 40
NETWORKS = {
    "mlp": {"hidden": (16, 8), "activation": "gelu"},
    "gated": {"hidden": (16, 8), "activation": "glu"},
    "conv": {"filters": (3, 5), "hidden": 9},
    "resnet": {"filters": (3, 5), "blocks": 1, "hidden": 9, "batch_normalization": True},
}


def model_of(network, image_shape):
    """A model with random weights and, where it has any, random moving statistics."""
    keras.utils.set_random_seed(1)
    kind = "mlp" if network == "gated" else network
    encoder, decoder = tfvae.networks.build(kind, image_shape, 4, **NETWORKS[network])
    generator = np.random.default_rng(0)
    contrast = 1.0 if network == "resnet" else 1.5  # Of what a fresh network has.
    for variable in [*encoder.variables, *decoder.variables]:
        if variable.ndim > 1:
            variable.assign(contrast * variable)
            continue
        center = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
        variable.assign(center + generator.uniform(-0.3, 0.3, variable.shape))
    return tfvae.VAE(encoder=encoder, decoder=decoder)


def numbers_of_python(vae, image, noise):
    """What `window.tfvae` is asked for, from the same noise."""
    posterior = vae.encode(image[np.newaxis])
    latents = posterior.mean() + posterior.stddev() * noise
    log_likelihoods = np.asarray(vae.decode(latents).log_prob(image))
    kl = float(posterior.kl_divergence(vae.prior)[0])
    log_weights = log_likelihoods + vae.prior.log_prob(latents) - posterior.log_prob(latents)
    sums = importance.sum_weights(log_weights[:, np.newaxis])
    return {
        "mean": posterior.mean()[0],
        "stddev": posterior.stddev()[0],
        "decoded": np.ravel(vae.decode(latents[:3]).mean()),
        "reconstruction": log_likelihoods.mean(),
        "kl": kl,
        "elbo": log_likelihoods.mean() - kl,
        "estimate": importance.log_mean(sums, NUM_SAMPLES)[0],
        "standardError": importance.standard_error(sums, NUM_SAMPLES)[0],
        "effectiveSampleSize": importance.effective_sample_size(sums)[0],
        "latents": np.ravel(latents[:3]),
    }


ASK = """
const [pixels, noise, latents] = arguments;
const plain = (values) => Array.from(values);
const { mean, stddev } = tfvae.encode(pixels);
return {
  mean: plain(mean), stddev: plain(stddev), decoded: plain(tfvae.decode(latents)),
  ...tfvae.elbo(pixels, noise), ...tfvae.logLikelihood(pixels, noise),
};
"""


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (32, 32, 3)], ids=["28x28x1", "32x32x3"])
@pytest.mark.parametrize("network", NETWORKS)
def test_numbers_agree_with_python(network, image_shape, open_page, tmp_path):
    vae = model_of(network, image_shape)
    images = binary_images(6, image_shape)
    explorer.write_page(vae, tmp_path / "page.html", images)
    page = open_page(tmp_path / "page.html")
    noise = np.random.default_rng(2).normal(size=(NUM_SAMPLES, 4)).astype(np.float32)
    expected = numbers_of_python(vae, images[0], noise)
    latents = expected.pop("latents").tolist()
    found = page.execute_script(ASK, images[0].ravel().tolist(), noise.tolist(), latents)
    for name, value in expected.items():
        in_nats = name in ("elbo", "reconstruction", "kl", "estimate")
        # An error of the logarithms is a relative one of the weights.
        relative = 0.02 if name in ("standardError", "effectiveSampleSize") else 0
        tolerance = {"atol": 0.05 if in_nats else 2e-3, "rtol": relative}
        np.testing.assert_allclose(found[name], value, err_msg=name, **tolerance)
    # The numbers say something of the network.
    assert np.ptp(expected["decoded"]) > 0.2
    assert np.abs(expected["mean"]).max() > 0.2
