"""A training loop by hand in JAX with optax: one `lax.scan` an epoch, data in device memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from training_peers.problems import (
    EPSILON,
    IMAGE_SHAPE,
    LEARNING_RATE,
    SMALLEST_STDDEV,
    UNIT_SCALE,
    Weights,
    layers,
)

# XLA's own convolutions take up to ten times as long inside of a scan on a processor. As matrix
# products, with 2x2 pixels as one, those of a 4x4 kernel and strides of 2 take less than outside.


def convolution(images, kernel):
    """As Keras's `Conv2D(kernel_size=4, strides=2, padding="same")`."""
    batch, height, width, channels = images.shape
    images = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    blocks = images.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(*blocks.shape[:2], width // 2 + 1, -1)
    neighbors = [
        blocks[:, row : row + height // 2, column : column + width // 2]
        for row in (0, 1)
        for column in (0, 1)
    ]
    matrix = kernel_of_blocks(kernel).reshape(-1, kernel.shape[3])
    return jnp.concatenate(neighbors, axis=-1) @ matrix


def transposed_convolution(features, kernel):
    """As Keras's `Conv2DTranspose(kernel_size=4, strides=2, padding="same")`."""
    batch, height, width, _ = features.shape
    matrix = kernel_of_blocks(kernel).reshape(-1, kernel.shape[3])
    neighbors = (features @ matrix.T).reshape(batch, height, width, 2, 2, -1)
    blocks = sum(
        jnp.pad(
            neighbors[..., row, column, :], ((0, 0), (row, 1 - row), (column, 1 - column), (0, 0))
        )
        for row in (0, 1)
        for column in (0, 1)
    )
    images = blocks.reshape(batch, height + 1, width + 1, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return images.reshape(batch, 2 * height + 2, 2 * width + 2, -1)[:, 1:-1, 1:-1]


def kernel_of_blocks(kernel):
    """`[4, 4, first, second]` to `[2, 2, 2 * 2 * first, second]`."""
    first, second = kernel.shape[2:]
    blocks = kernel.reshape(2, 2, 2, 2, first, second).transpose(0, 2, 1, 3, 4, 5)
    return blocks.reshape(2, 2, 4 * first, second)


def encode(parameters, images, dtype):
    features = images.astype(dtype)
    for index, (kernel, bias) in enumerate(parameters):
        kernel, bias = kernel.astype(dtype), bias.astype(dtype)
        if kernel.ndim == 4:
            features = convolution(features, kernel)
        else:
            features = features.reshape(len(features), -1) @ kernel
        features += bias
        if index < len(parameters) - 1:
            features = jax.nn.relu(features)
    mean, scale = jnp.split(features.astype(jnp.float32), 2, axis=-1)
    return mean, SMALLEST_STDDEV + jax.nn.softplus(scale + UNIT_SCALE)


def decode(parameters, latents, dtype):
    features = latents.astype(dtype)
    for index, (kernel, bias) in enumerate(parameters):
        kernel, bias = kernel.astype(dtype), bias.astype(dtype)
        if kernel.ndim == 4:
            if features.ndim == 2:
                channels = kernel.shape[-1]
                size = int((features.shape[-1] // channels) ** 0.5)
                features = features.reshape(-1, size, size, channels)
            features = transposed_convolution(features, kernel)
        else:
            features = features @ kernel
        features += bias
        if index < len(parameters) - 1:
            features = jax.nn.relu(features)
    return features.astype(jnp.float32)


def loss(parameters, images, key, num_samples, dtype):
    mean, stddev = encode(parameters.encoder, images, dtype)
    noise = jax.random.normal(key, (num_samples, *mean.shape))
    latents = mean + stddev * noise
    logits = decode(parameters.decoder, latents.reshape(-1, mean.shape[-1]), dtype)
    logits = logits.reshape(num_samples, len(images), -1)
    pixels = images.reshape(len(images), -1)
    reconstruction = jnp.sum(pixels * logits - jax.nn.softplus(logits), axis=-1)
    if num_samples == 1:
        kl = jnp.sum(0.5 * (stddev**2 + mean**2 - 1) - jnp.log(stddev), axis=-1)
        return jnp.mean(kl - reconstruction[0])
    log_ratio = jnp.sum(0.5 * (noise**2 - latents**2) + jnp.log(stddev), axis=-1)
    bound = jax.nn.logsumexp(reconstruction + log_ratio, axis=0) - jnp.log(num_samples)
    return -jnp.mean(bound)


def train(problem, data, turns, dtype="float32"):
    optimizer = optax.adam(LEARNING_RATE, eps=EPSILON)
    images = jnp.asarray(data.images.astype(np.float32).reshape(-1, *IMAGE_SHAPE))
    parameters = jax.tree.map(jnp.asarray, Weights(*map(layers, data.weights)))
    num_steps = len(images) // problem.batch_size

    @functools.partial(jax.jit, donate_argnums=0)
    def train_epoch(state, images):
        parameters, moments, key = state
        key, order_key, noise_key = jax.random.split(key, 3)
        order = jax.random.permutation(order_key, len(images)).reshape(num_steps, -1)

        def step(state, batch):
            parameters, moments = state
            indices, key = batch
            value, gradient = jax.value_and_grad(loss)(
                parameters, images[indices], key, problem.num_samples, dtype
            )
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(parameters, updates), moments), value

        keys = jax.random.split(noise_key, num_steps)
        state, values = jax.lax.scan(step, (parameters, moments), (order, keys))
        return (*state, key), values.mean()

    state = parameters, optimizer.init(parameters), jax.random.key(1)
    for _ in turns:
        state, _ = jax.block_until_ready(train_epoch(state, images))
    trained = jax.tree.map(np.asarray, state[0])
    return Weights(*([array for layer in net for array in layer] for net in trained))
