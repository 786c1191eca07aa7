"""Encoders and decoders as plain Keras models: mlp, conv and resnet, for images of any shape."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tfvae.common.checks import check_integer
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

    Raises:
        InputError: If a size is not positive.

    References:
        Dauphin et al. Language Modeling with Gated Convolutional Networks. 2016. arXiv:1612.08083
        (gated layers).
    """
    _check_sizes(image_shape, latent_dim, hidden=hidden)
    images = _input(image_shape, "images", dtype)
    features = keras.layers.Flatten(name="pixels", dtype=dtype)(images)
    features = _dense_layers(features, hidden, activation, dtype)
    return keras.Model(images, _posterior_parameters(features, latent_dim, dtype), name="encoder")


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

    Raises:
        InputError: If a size is not positive.
    """
    _check_sizes(image_shape, latent_dim, hidden=hidden)
    latents = _input((latent_dim,), "latents", dtype)
    features = _dense_layers(latents, tuple(reversed(hidden)), activation, dtype)
    features = keras.layers.Dense(math.prod(image_shape), name="pixels", dtype=dtype)(features)
    logits = keras.layers.Reshape(image_shape, name="logits", dtype=dtype)(features)
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

    Raises:
        InputError: If a size is not positive.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden])
    images = _input(image_shape, "images", dtype)
    features = images
    for index, count in enumerate(filters):
        features = keras.layers.Conv2D(
            count,
            kernel_size=4,
            strides=2,
            padding="same",
            activation=activation,
            name=f"conv_{index}",
            dtype=dtype,
        )(features)
    features = keras.layers.Flatten(name="flatten", dtype=dtype)(features)
    features = _dense_layers(features, [hidden], activation, dtype)
    return keras.Model(images, _posterior_parameters(features, latent_dim, dtype), name="encoder")


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

    Raises:
        InputError: If a size is not positive.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden])
    sizes = _halved_sizes(image_shape, len(filters))
    latents = _input((latent_dim,), "latents", dtype)
    features = _dense_layers(latents, [hidden], activation, dtype)
    features = _feature_map(features, (*sizes[-1], filters[-1]), activation, dtype)
    outputs = [*filters[:-1], None]
    for index in reversed(range(len(filters))):
        last = index == 0
        features = keras.layers.Conv2DTranspose(
            image_shape[2] if last else outputs[index - 1],
            kernel_size=4,
            strides=2,
            padding="same",
            activation=None if last else activation,
            name=f"conv_{index}",
            dtype=dtype,
        )(features)
        features = _cropped(features, sizes[index], name=f"crop_{index}", dtype=dtype)
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

    Raises:
        InputError: If a size is not positive.

    References:
        He et al. Identity Mappings in Deep Residual Networks. 2016. arXiv:1603.05027.
        Ioffe and Szegedy. Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift. 2015. arXiv:1502.03167.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden], blocks=[blocks])
    images = _input(image_shape, "images", dtype)
    features = images
    for stage, count in enumerate(filters):
        features = keras.layers.Conv2D(
            count, kernel_size=3, strides=2, padding="same", name=f"down_{stage}", dtype=dtype
        )(features)
        for block in range(blocks):
            name = f"stage_{stage}_{block}"
            features = _residual_block(features, activation, batch_normalization, name, dtype)
    features = _activated(features, activation, batch_normalization, "activation", dtype)
    features = keras.layers.Flatten(name="flatten", dtype=dtype)(features)
    features = _dense_layers(features, [hidden], activation, dtype)
    return keras.Model(images, _posterior_parameters(features, latent_dim, dtype), name="encoder")


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

    Raises:
        InputError: If a size is not positive.
    """
    _check_sizes(image_shape, latent_dim, filters=filters, hidden=[hidden], blocks=[blocks])
    sizes = _halved_sizes(image_shape, len(filters))
    latents = _input((latent_dim,), "latents", dtype)
    features = _dense_layers(latents, [hidden], activation, dtype)
    features = _feature_map(features, (*sizes[-1], filters[-1]), None, dtype)
    for stage in reversed(range(len(filters))):
        for block in range(blocks):
            name = f"stage_{stage}_{block}"
            features = _residual_block(features, activation, batch_normalization, name, dtype)
        features = keras.layers.Conv2DTranspose(
            filters[max(stage - 1, 0)],
            kernel_size=3,
            strides=2,
            padding="same",
            name=f"up_{stage}",
            dtype=dtype,
        )(features)
        features = _cropped(features, sizes[stage], name=f"crop_{stage}", dtype=dtype)
    features = _activated(features, activation, batch_normalization, "activation", dtype)
    logits = keras.layers.Conv2D(
        image_shape[2], kernel_size=3, padding="same", name="logits", dtype=dtype
    )(features)
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
    """The encoder and the decoder of a kind of network.

    Args:
        network: `"mlp"`, `"conv"` or `"resnet"`.
        image_shape: `(height, width, channels)`.
        latent_dim: The number of latent dimensions.
        dtype: A Keras dtype policy; the global one if None.
        **sizes: The further arguments of both, such as `hidden` or `filters`.

    Returns:
        The encoder and the decoder.

    Raises:
        InputError: If there is no such network, or a size is not positive.
    """
    if network not in BY_NAME:
        raise InputError(f"network must be one of {', '.join(BY_NAME)}; got {network!r}")
    encoder, decoder = BY_NAME[network]
    return (
        encoder(image_shape, latent_dim, dtype=dtype, **sizes),
        decoder(image_shape, latent_dim, dtype=dtype, **sizes),
    )


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


def _input(shape, name, dtype):
    # Of the variables' type: a float32 input would round the latents of a float64 model.
    dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy()).variable_dtype
    return keras.Input(shape, name=name, dtype=dtype)


def _dense_layers(features, hidden, activation, dtype):
    is_gated = activation == "glu"
    for index, units in enumerate(hidden):
        features = keras.layers.Dense(
            2 * units if is_gated else units,
            activation=None if is_gated else activation,
            name=f"hidden_{index}",
            dtype=dtype,
        )(features)
        if is_gated:
            features = keras.ops.glu(features)
    return features


def _posterior_parameters(features, latent_dim, dtype):
    return keras.layers.Dense(2 * latent_dim, name="posterior_parameters", dtype=dtype)(features)


def _feature_map(features, shape, activation, dtype):
    features = keras.layers.Dense(
        math.prod(shape), activation=activation, name="unflatten", dtype=dtype
    )(features)
    return keras.layers.Reshape(shape, name="feature_map", dtype=dtype)(features)


def _halved_sizes(image_shape, times):
    """(height, width) of the image and after each halving, rounded up as strides do."""
    sizes = [tuple(image_shape[:2])]
    for _ in range(times):
        sizes.append(tuple(math.ceil(size / 2) for size in sizes[-1]))
    return sizes


def _cropped(features, size, name, dtype):
    """Drops the row and the column that doubling an odd size gives too much."""
    height, width = features.shape[1] - size[0], features.shape[2] - size[1]
    if not height and not width:
        return features
    return keras.layers.Cropping2D(((0, height), (0, width)), name=name, dtype=dtype)(features)


def _activated(features, activation, batch_normalization, name, dtype):
    if batch_normalization:
        layer = keras.layers.BatchNormalization(name=f"{name}_normalization", dtype=dtype)
        features = layer(features)
    return keras.layers.Activation(activation, name=name, dtype=dtype)(features)


def _residual_block(features, activation, batch_normalization, name, dtype):
    residual = features
    for index in range(2):
        residual = _activated(
            residual, activation, batch_normalization, f"{name}_activation_{index}", dtype
        )
        residual = keras.layers.Conv2D(
            features.shape[-1],
            kernel_size=3,
            padding="same",
            name=f"{name}_conv_{index}",
            dtype=dtype,
        )(residual)
    return keras.layers.Add(name=f"{name}_sum", dtype=dtype)([features, residual])
