import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tfvae.common.errors import InputError

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


def test_gated_layers_are_those_of_dauphin():
    encoder = tfvae.networks.mlp_encoder((3, 2, 1), 2, hidden=(4,), activation="glu")
    images = np.random.default_rng(0).random((5, 3, 2, 1), dtype=np.float32)
    kernel, bias = encoder.get_layer("hidden_0").get_weights()
    features = images.reshape(5, 6) @ kernel + bias
    hidden = features[:, :4] / (1 + np.exp(-features[:, 4:]))
    kernel, bias = encoder.get_layer("posterior_parameters").get_weights()
    np.testing.assert_allclose(encoder(images), hidden @ kernel + bias, rtol=1e-4, atol=1e-5)
    decoder = tfvae.networks.mlp_decoder((3, 2, 1), 2, hidden=(4,), activation="glu")
    assert decoder.get_layer("hidden_0").units == 8
    assert decoder.output_shape == (None, 3, 2, 1)


def test_batch_normalization_stands_before_the_activations_of_a_resnet():
    sizes = {"filters": (4,), "blocks": 1, "hidden": 4}
    images = np.random.default_rng(0).random((9, 6, 6, 1), dtype=np.float32)
    for network in tfvae.networks.build("resnet", (6, 6, 1), 2, batch_normalization=True, **sizes):
        found = [
            layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        activations = [
            layer for layer in network.layers if isinstance(layer, keras.layers.Activation)
        ]
        assert len(found) == len(activations) == 3
        for layer, activation in zip(found, activations, strict=True):
            assert activation.input is layer.output
        inputs = images if network.name == "encoder" else images[:, :2, 0, 0]
        outputs = keras.Model(network.inputs, [found[0].input, found[0].output])
        features, normalized = map(keras.ops.convert_to_numpy, outputs(inputs, training=True))
        moments = {"axis": (0, 1, 2), "keepdims": True}
        expected = features - features.mean(**moments)
        expected /= np.sqrt(features.var(**moments) + found[0].epsilon)
        np.testing.assert_allclose(normalized, expected, rtol=1e-3, atol=1e-4)
    for network in tfvae.networks.build("resnet", (6, 6, 1), 2, **sizes):
        assert not any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers
        )


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
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1; got 0"),
        ({"latent_dim": 2.5}, "latent_dim must be an integer of at least 1; got 2.5"),
        ({"image_shape": (28, 28)}, r"\(height, width, channels\); got \(28, 28\)"),
        ({"image_shape": (28, -1, 1)}, "image_shape must be an integer of at least 1; got -1"),
        ({"hidden": (512, 0)}, "hidden must be an integer of at least 1; got 0"),
        ({"network": "conv", "filters": ()}, "filters must name at least one convolution"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        tfvae.networks.build(
            **{"network": "mlp", "image_shape": (28, 28, 1), "latent_dim": 2, **arguments}
        )
