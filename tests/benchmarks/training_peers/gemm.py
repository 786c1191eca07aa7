"""The matrix products of a step alone, by one of three libraries: what no training can pass.

They are, for each layer, its forward product and the gradients by its weights and by its inputs;
the latter not for the images, whose gradient nobody needs.
"""

import numpy as np

from training_peers.problems import product_sizes


def train(problem, data, turns, library):
    generator = np.random.default_rng(0)
    operands = []
    for rows, inputs, outputs in product_sizes(problem, data.weights):
        shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
        operands.append([generator.standard_normal(shape, dtype=np.float32) for shape in shapes])
    step = STEPS[library](operands)
    for _ in turns:
        for _ in range(len(data.images) // problem.batch_size):
            step()


def products(operands, matmul, transpose):
    results = []
    for index, (inputs, weights, output_gradient) in enumerate(operands):
        results.append(matmul(inputs, weights))
        results.append(matmul(transpose(inputs), output_gradient))
        if index:
            results.append(matmul(output_gradient, transpose(weights)))
    return results


def tensorflow_step(operands):
    import tensorflow as tf

    operands = [list(map(tf.constant, matrices)) for matrices in operands]
    step = tf.function(
        lambda operands: products(operands, tf.matmul, tf.transpose), autograph=False
    )
    return lambda: step(operands)


def jax_step(operands):
    import jax
    import jax.numpy as jnp

    operands = jax.tree.map(jnp.asarray, operands)
    step = jax.jit(lambda operands: products(operands, jnp.matmul, jnp.transpose))
    return lambda: jax.block_until_ready(step(operands))


def torch_step(operands):
    import torch

    operands = [list(map(torch.from_numpy, matrices)) for matrices in operands]
    return lambda: products(operands, torch.mm, torch.t)


STEPS = {"tensorflow": tensorflow_step, "jax": jax_step, "torch": torch_step}
