"""A model as what the page reads: a description for JSON, and the bytes of its arrays."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfvae.vae import VAE

# What the page needs to know of each kind of layer, by its Keras name. `network.js` runs them.
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "BatchNormalization": (),
    "Conv2D": ("strides", "padding", "activation"),
    "Conv2DTranspose": ("strides", "padding", "activation"),
    "Cropping2D": ("cropping",),
    "Dense": ("activation",),
    "Dropout": (),
    "Flatten": (),
    "Glu": (),
    "Reshape": ("target_shape",),
}
ACTIVATIONS = ("elu", "gelu", "linear", "relu", "selu", "sigmoid", "silu", "softplus", "tanh")
# Where a layer has one of these settings, the page runs it with this value only.
_EXPECTED: Mapping[str, Sequence[Any]] = {
    "activation": ACTIVATIONS,
    "axis": (-1,),
    "data_format": ("channels_last",),
    "dilation_rate": ((1, 1),),
    "groups": (1,),
    "output_padding": (None,),
    "quantization_config": (None,),
    "renorm": (False,),
}


class UnknownLayerError(Exception):
    """The page cannot run a network; the message says why."""


class Arrays:
    """The arrays of a page one after the other, each with its type, its shape and its start."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: np.ndarray) -> int:
        """Adds an array of float32, int32 or uint8; returns the number it is known by."""
        return self._append(values.dtype.name, values.shape, values.tobytes())

    def add_weights(self, weights: np.ndarray) -> int:
        """Adds weights: vectors as they are, kernels rounded to multiples of a unit per output."""
        if weights.ndim < 2:
            return self.add(weights)
        multiples, unit = in_units(weights)
        # All high bytes, then all low ones, which compresses better.
        high_and_low = multiples.astype(">i2").view(np.uint8).reshape(-1, 2).T
        return self._append("fixed16", weights.shape, unit.tobytes() + high_and_low.tobytes())

    def _append(self, kind, shape, data):
        self.entries.append({"type": kind, "shape": list(shape), "start": self.size})
        self.parts.append(data)
        self.size += len(data)
        return len(self.entries) - 1


def in_units(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel as int16 multiples of float32 units, one for each place of its last axis.

    These 16 bits are 4 to 10 times as exact as those of float16: with these, the ELBO of
    `mnist-vae` was wrong by up to 0.057 nats.
    """
    unit = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(32767)
    unit = np.where(unit > 0, unit, np.float32(1))
    return np.rint(kernel / unit).astype(np.int16), unit


def rounded(weights: np.ndarray) -> np.ndarray:
    """The weights that the page has."""
    if weights.ndim < 2:
        return weights
    multiples, unit = in_units(weights)
    return multiples * unit


def pack_network(network: keras.Model, arrays: Arrays) -> list[dict[str, Any]]:
    """The layers of a network, each after its inputs; their weights go to `arrays`.

    Raises:
        UnknownLayerError: If the page cannot run one of them.
    """
    layers: list[dict[str, Any]] = [{"layer": "InputLayer", "shape": network.input_shape[1:]}]
    output = _pack_layers(network, 0, layers, arrays)
    if output != len(layers) - 1:
        raise UnknownLayerError(f"the last layer of {network.name} is not its output")
    return layers


def _pack_layers(network, source, layers, arrays):
    """Adds the layers of a network whose input is layer `source`; returns which is its output."""
    config = network.get_config() if isinstance(network, keras.Model) else {}
    if "layers" not in config:
        raise UnknownLayerError(f"{network.name} is a {type(network).__name__} of its own")
    is_sequence = isinstance(network, keras.Sequential)
    places: dict[str, int] = {}
    for layer in config["layers"]:
        name = layer["config"]["name"]
        if layer["class_name"] == "InputLayer":
            places[name] = source
            continue
        calls = layer.get("inbound_nodes", [])
        if len(calls) > 1:
            raise UnknownLayerError(f"the layer {name} is used {len(calls)} times")
        inputs = [source] if is_sequence else [places[parent] for parent in _parents(calls)]
        if layer["class_name"] in ("Functional", "Sequential"):
            (inner,) = inputs
            source_of_next = _pack_layers(network.get_layer(name), inner, layers, arrays)
        else:
            layers.append(_pack_layer(network, layer, inputs, arrays))
            source_of_next = len(layers) - 1
        places[name] = source_of_next
        if is_sequence:
            source = source_of_next
    if is_sequence:
        return source
    (output,) = _names(config["output_layers"])
    return places[output]


def _parents(calls: Any) -> Iterator[str]:
    """The names of the layers whose outputs a call of a layer takes, in their order."""
    if isinstance(calls, dict):
        if calls.get("class_name") == "__keras_tensor__":
            yield calls["config"]["keras_history"][0]
            return
        calls = list(calls.values())
    if isinstance(calls, list | tuple):
        for part in calls:
            yield from _parents(part)


def _names(outputs: Any) -> list[str]:
    """The names in `output_layers`: one `[name, node, tensor]`, or a list of them."""
    return [outputs[0]] if isinstance(outputs[0], str) else [output[0] for output in outputs]


def _pack_layer(network, layer, inputs, arrays):
    kind, config = layer["class_name"], layer["config"]
    name = config["name"]
    if kind not in _SETTINGS or not layer["module"].startswith("keras."):
        raise UnknownLayerError(f"the layer {name} is a {kind}")
    for setting, expected in _EXPECTED.items():
        value = config.get(setting, expected[0])
        value = tuple(value) if isinstance(value, list) else value
        if value not in expected:
            raise UnknownLayerError(f"the layer {name} has {setting}={value!r}")
    weights = [] if kind == "Glu" else _weights(network.get_layer(name))
    return {
        "layer": kind,
        "inputs": inputs,
        "weights": [arrays.add_weights(array.astype(np.float32)) for array in weights],
        **{setting: config[setting] for setting in _SETTINGS[kind]},
    }


def _weights(layer):
    """The arrays of a layer: a kernel and a bias, or a scale and an offset."""
    if isinstance(layer, keras.layers.BatchNormalization):
        variance = np.asarray(layer.moving_variance) + layer.epsilon
        scale = (np.asarray(layer.gamma) if layer.scale else 1.0) / np.sqrt(variance)
        offset = np.asarray(layer.beta) if layer.center else 0.0
        return [scale, offset - np.asarray(layer.moving_mean) * scale]
    weights = [np.asarray(variable) for variable in layer.weights]
    if weights and not layer.use_bias:
        outputs = weights[0].shape[2 if isinstance(layer, keras.layers.Conv2DTranspose) else -1]
        weights.append(np.zeros(outputs))
    return weights


def pack_images(
    vae: VAE, images: np.ndarray, labels: np.ndarray | None, arrays: Arrays
) -> dict[str, Any]:
    """Held-out images in 256 levels, and their labels."""
    levels = np.rint(np.asarray(images, np.float32) * 255).astype(np.uint8)
    packed = {"pixels": arrays.add(levels.reshape(-1, math.prod(vae.image_shape)))}
    if labels is not None:
        packed["labels"] = arrays.add(labels)
    return packed


def rounding_error(vae: VAE, images: np.ndarray) -> dict[str, float]:
    """The largest differences that the rounded weights make on images: of the means, in nats."""
    copy = type(vae).from_config(vae.get_config())
    for network in ("encoder", "decoder"):
        weights = getattr(vae, network).get_weights()
        getattr(copy, network).set_weights(
            [rounded(np.asarray(array, np.float32)) for array in weights]
        )
    means, elbos = [], []
    for model in (vae, copy):
        means.append(np.asarray(model(images)))
        elbos.append(np.asarray(model.elbo(images, seed=0)))
    return {
        "mean": float(np.abs(means[0] - means[1]).max()),
        "elbo": float(np.abs(elbos[0] - elbos[1]).max()),
    }
