"""Encoders and decoders as plain Keras models: mlp, conv and resnet, for images of any shape."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tfvae.common.checks import check_choice, check_integer
from tfvae.common.errors import InputError
from tfvae.common.shapes import ImageShape, check_image_shape


def mlp_encoder(
    image_shape: ImageShape,
    latent_dim: int,
    hidden: Sequence[int] = (512, 512),
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """An encoder of fully connected layers.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: The number of latent dimensions.
        hidden: The units of each hidden layer, from the image on.
        activation: Of the hidden layers; `"glu"` for gated ones, A(h) * sigmoid(B(h)).
        dtype: A Keras dtype policy; the global one if None.

    Returns:
        A model from images `[batch, height, width, channels]` to `[batch, 2 * latent_dim]`: the
        locations, then the unconstrained scales.

    References:
        Dauphin et al. Language Modeling with Gated Convolutional Networks. 2016. arXiv:1612.08083
        (gated layers).
    """
    _check_sizes(image_shape, latent_dim, hidden=hidden)
    with _dtype_policy(dtype):
        images = _input(image_shape, "images")
        features = keras.layers.Flatten(name="pixels")(images)
        return _encoder(images, _dense_layers(features, hidden, activation), latent_dim)


def mlp_decoder(
    image_shape: ImageShape,
    latent_dim: int,
    hidden: Sequence[int] = (512, 512),
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """A decoder of fully connected layers, the mirror image of `mlp_encoder`.

    The arguments are those of `mlp_encoder`: `hidden` is from the image on, as for the encoder, and
    the decoder has them in reverse.

    Returns:
        A model from latents `[batch, latent_dim]` to logits `[batch, height, width, channels]`.
    """
    _check_sizes(image_shape, latent_dim, hidden=hidden)
    with _dtype_policy(dtype):
        latents = _input((latent_dim,), "latents")
        features = _dense_layers(latents, hidden[::-1], activation)
        features = keras.layers.Dense(math.prod(image_shape), name="pixels")(features)
        logits = keras.layers.Reshape(image_shape, name="logits")(features)
        return keras.Model(latents, logits, name="decoder")


def conv_encoder(
    image_shape: ImageShape,
    latent_dim: int,
    filters: Sequence[int] = (32, 64),
    hidden: int = 256,
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """An encoder of strided convolutions, each of which halves height and width (rounded up).

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: The number of latent dimensions.
        filters: The filters of each convolution, from the image on.
        hidden: The units of the fully connected layer behind the convolutions.
        activation: Of the hidden layers.
        dtype: A Keras dtype policy; the global one if None.

    Returns:
        A model from images `[batch, height, width, channels]` to `[batch, 2 * latent_dim]`.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden])
    with _dtype_policy(dtype):
        features = images = _input(image_shape, "images")
        for index, count in enumerate(filters):
            layer = _Conv2D(count, 4, strides=2, activation=activation, name=f"conv_{index}")
            features = layer(features)
        features = keras.layers.Flatten(name="flatten")(features)
        return _encoder(images, _dense_layers(features, [hidden], activation), latent_dim)


def conv_decoder(
    image_shape: ImageShape,
    latent_dim: int,
    filters: Sequence[int] = (32, 64),
    hidden: int = 256,
    activation: str = "relu",
    dtype: str | None = None,
) -> keras.Model:
    """A decoder of transposed convolutions, the mirror image of `conv_encoder`.

    The arguments are those of `conv_encoder`: `filters` are from the image on, as for the
    encoder, and the decoder has them in reverse.

    Returns:
        A model from latents `[batch, latent_dim]` to logits `[batch, height, width, channels]`.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden])
    sizes = _halved_sizes(image_shape, len(filters))
    outputs = [image_shape[2], *filters[:-1]]
    with _dtype_policy(dtype):
        latents = _input((latent_dim,), "latents")
        features = _dense_layers(latents, [hidden], activation)
        features = _feature_map(features, (*sizes[-1], filters[-1]), activation)
        for index in reversed(range(len(filters))):
            layer = _Conv2DTranspose(
                outputs[index], 4, activation=activation if index else None, name=f"conv_{index}"
            )
            features = _cropped(layer(features), sizes[index], name=f"crop_{index}")
        return keras.Model(latents, features, name="decoder")


def resnet_encoder(
    image_shape: ImageShape,
    latent_dim: int,
    filters: Sequence[int] = (32, 64),
    blocks: int = 2,
    hidden: int = 256,
    activation: str = "elu",
    batch_normalization: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """An encoder of residual blocks; each stage starts by halving height and width.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: The number of latent dimensions.
        filters: The filters of each stage, from the image on.
        blocks: The residual blocks of each stage.
        hidden: The units of the fully connected layer behind the stages.
        activation: Of the hidden layers.
        batch_normalization: Whether one stands before each activation of the blocks.
        dtype: A Keras dtype policy; the global one if None.

    Returns:
        A model from images `[batch, height, width, channels]` to `[batch, 2 * latent_dim]`.

    References:
        He et al. Identity Mappings in Deep Residual Networks. 2016. arXiv:1603.05027.
        Ioffe and Szegedy. Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift. 2015. arXiv:1502.03167.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden], blocks=[blocks])
    activated = functools.partial(_activated, activation, batch_normalization)
    with _dtype_policy(dtype):
        features = images = _input(image_shape, "images")
        for stage, count in enumerate(filters):
            features = _Conv2D(count, 3, strides=2, name=f"down_{stage}")(features)
            for block in range(blocks):
                features = _residual_block(features, activated, f"stage_{stage}_{block}")
        features = activated(features, "activation")
        features = keras.layers.Flatten(name="flatten")(features)
        return _encoder(images, _dense_layers(features, [hidden], activation), latent_dim)


def resnet_decoder(
    image_shape: ImageShape,
    latent_dim: int,
    filters: Sequence[int] = (32, 64),
    blocks: int = 2,
    hidden: int = 256,
    activation: str = "elu",
    batch_normalization: bool = False,
    dtype: str | None = None,
) -> keras.Model:
    """A decoder of residual blocks, the mirror image of `resnet_encoder`.

    The arguments are those of `resnet_encoder`: `filters` are from the image on, as for the
    encoder, and the decoder has them in reverse.

    Returns:
        A model from latents `[batch, latent_dim]` to logits `[batch, height, width, channels]`.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden], blocks=[blocks])
    sizes = _halved_sizes(image_shape, len(filters))
    activated = functools.partial(_activated, activation, batch_normalization)
    with _dtype_policy(dtype):
        latents = _input((latent_dim,), "latents")
        features = _dense_layers(latents, [hidden], activation)
        features = _feature_map(features, (*sizes[-1], filters[-1]), None)
        for stage in reversed(range(len(filters))):
            for block in range(blocks):
                features = _residual_block(features, activated, f"stage_{stage}_{block}")
            layer = _Conv2DTranspose(filters[max(stage - 1, 0)], 3, name=f"up_{stage}")
            features = _cropped(layer(features), sizes[stage], name=f"crop_{stage}")
        features = activated(features, "activation")
        logits = _Conv2D(image_shape[2], 3, name="logits")(features)
        return keras.Model(latents, logits, name="decoder")


BY_NAME: dict[str, tuple[Callable[..., keras.Model], Callable[..., keras.Model]]] = {
    "mlp": (mlp_encoder, mlp_decoder),
    "conv": (conv_encoder, conv_decoder),
    "resnet": (resnet_encoder, resnet_decoder),
}
"""The encoder and the decoder of each kind of network, made with equal arguments."""


def build(
    network: str, image_shape: ImageShape, latent_dim: int, dtype: str | None = None, **sizes: Any
) -> tuple[keras.Model, keras.Model]:
    """The encoder and the decoder of a kind of network, with equal arguments.

    Args:
        network: `"mlp"`, `"conv"` or `"resnet"`.
        image_shape: `(height, width, channels)`.
        latent_dim: The number of latent dimensions.
        dtype: A Keras dtype policy; the global one if None.
        **sizes: The further arguments of both, such as `hidden` or `filters`.

    Raises:
        InputError: If there is no such network, or a size is not positive.
    """
    check_choice("network", network, BY_NAME)
    encoder, decoder = (
        make(image_shape, latent_dim, dtype=dtype, **sizes) for make in BY_NAME[network]
    )
    return encoder, decoder


def layers_of(network: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a network, those of its inner models included."""
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)


def _check_sizes(image_shape, latent_dim, **sizes):
    check_image_shape(image_shape)
    for name, values in {"latent_dim": [latent_dim], **sizes}.items():
        for value in values:
            check_integer(name, value, minimum=1)
    if not sizes.get("filters", [1]):
        raise InputError("filters must name at least one convolution; got none")


@contextlib.contextmanager
def _dtype_policy(policy):
    """Gives the layers that are made within a policy, which is the global one if None."""
    global_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or global_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(global_policy)


_Conv2D = functools.partial(keras.layers.Conv2D, padding="same")
_Conv2DTranspose = functools.partial(keras.layers.Conv2DTranspose, strides=2, padding="same")


def _input(shape, name):
    # Of the variables' type: a float32 input would round the latents of a float64 model.
    return keras.Input(shape, name=name, dtype=keras.config.dtype_policy().variable_dtype)


def _dense_layers(features, hidden, activation):
    is_gated = activation == "glu"
    for index, units in enumerate(hidden):
        features = keras.layers.Dense(
            2 * units if is_gated else units,
            activation=None if is_gated else activation,
            name=f"hidden_{index}",
        )(features)
        if is_gated:
            features = keras.ops.glu(features)
    return features


def _encoder(images, features, latent_dim):
    parameters = keras.layers.Dense(2 * latent_dim, name="posterior_parameters")(features)
    return keras.Model(images, parameters, name="encoder")


def _feature_map(features, shape, activation):
    layer = keras.layers.Dense(math.prod(shape), activation=activation, name="unflatten")
    return keras.layers.Reshape(shape, name="feature_map")(layer(features))


def _halved_sizes(image_shape, times):
    """(height, width) of the image and after each halving, rounded up as strides do."""
    sizes = [tuple(image_shape[:2])]
    for _ in range(times):
        sizes.append(tuple(math.ceil(size / 2) for size in sizes[-1]))
    return sizes


def _cropped(features, size, name):
    """Drops the row and the column that doubling an odd size gives too much."""
    height, width = features.shape[1] - size[0], features.shape[2] - size[1]
    if not height and not width:
        return features
    return keras.layers.Cropping2D(((0, height), (0, width)), name=name)(features)


def _activated(activation, batch_normalization, features, name):
    if batch_normalization:
        features = keras.layers.BatchNormalization(name=f"{name}_normalization")(features)
    return keras.layers.Activation(activation, name=name)(features)


def _residual_block(features, activated, name):
    residual = features
    for index in range(2):
        residual = activated(residual, f"{name}_activation_{index}")
        residual = _Conv2D(features.shape[-1], 3, name=f"{name}_conv_{index}")(residual)
    return keras.layers.Add(name=f"{name}_sum")([features, residual])
