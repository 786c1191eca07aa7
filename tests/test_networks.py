import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tfvae.errors import InputError

SMALL = {
    "mlp": {"hidden": (7,)},
    "conv": {"filters": (2, 3), "hidden": 5},
    "resnet": {"filters": (2, 3), "blocks": 1, "hidden": 5},
}


@pytest.mark.parametrize("network", SMALL)
@settings(max_examples=8, deadline=None)
@given(
    image_shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4)),
    latent_dim=st.integers(1, 9),
)
def test_networks_fit_images_of_any_shape(network, image_shape, latent_dim):
    encoder, decoder = tfvae.networks.build(network, image_shape, latent_dim, **SMALL[network])
    assert encoder.input_shape == (None, *image_shape)
    assert encoder.output_shape == (None, 2 * latent_dim)
    assert decoder.input_shape == (None, latent_dim)
    assert decoder.output_shape == (None, *image_shape)


def test_mlp_decoder_mirrors_its_encoder():
    encoder = tfvae.networks.mlp_encoder((28, 28, 1), 3, hidden=(300, 100), activation="tanh")
    decoder = tfvae.networks.mlp_decoder((28, 28, 1), 3, hidden=(300, 100), activation="tanh")
    units = [
        [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]
        for model in (encoder, decoder)
    ]
    assert units == [[300, 100, 6], [100, 300, 784]]
    assert encoder.get_layer("hidden_0").activation is keras.activations.tanh
    assert encoder.get_layer("posterior_parameters").activation is keras.activations.linear


@pytest.mark.parametrize("network", SMALL)
def test_networks_take_a_dtype_policy(network):
    for model in tfvae.networks.build(network, (6, 5, 1), 2, dtype="mixed_bfloat16"):
        assert {layer.compute_dtype for layer in model.layers[1:]} == {"bfloat16"}
        assert {weights.dtype for weights in model.weights} == {"float32"}


def test_unknown_network_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="one of mlp, conv, resnet; got 'transformer'"):
        tfvae.networks.build("transformer", (28, 28, 1), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be made of positive integers; got 0"),
        ({"latent_dim": 2.5}, "latent_dim must be made of positive integers; got 2.5"),
        ({"image_shape": (28, 28)}, r"\(height, width, channels\); got \(28, 28\)"),
        ({"image_shape": (28, -1, 1)}, "image_shape must be made of positive integers; got -1"),
        ({"hidden": (512, 0)}, "hidden must be made of positive integers; got 0"),
        ({"network": "conv", "filters": ()}, "filters must name at least one convolution"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        tfvae.networks.build(
            **{"network": "mlp", "image_shape": (28, 28, 1), "latent_dim": 2, **arguments}
        )
