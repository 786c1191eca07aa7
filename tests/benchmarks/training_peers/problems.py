"""What is trained: networks, batch and objective, the same for all contestants."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

IMAGE_SHAPE = (28, 28, 1)
LEARNING_RATE = 1e-3
EPSILON = 1e-7  # Keras's; the others have 1e-8.

# As in tfvae/distributions.py: stddev = SMALLEST_STDDEV + softplus(parameter + UNIT_SCALE).
SMALLEST_STDDEV = 1e-6
UNIT_SCALE = 0.5413248546129181


@dataclasses.dataclass(frozen=True)
class Problem:
    """Attributes:
    title: What the table is headed with.
    network: As `tfvae.networks.build` names it.
    sizes: Its further arguments.
    latent_dim: The number of latent dimensions.
    batch_size: The images of a step.
    num_images: The images of an epoch, unless the command line says otherwise.
    num_samples: 1: the ELBO with closed-form KL; more: the importance-weighted bound.
    """

    title: str
    network: str
    sizes: dict[str, Any]
    latent_dim: int
    batch_size: int
    num_images: int
    num_samples: int = 1

    @property
    def bound(self) -> str:
        return "ELBO" if self.num_samples == 1 else f"IWAE-{self.num_samples}"


# The steps of an epoch are a multiple of 16, tfvae's steps of one execution, as almost all steps of
# an epoch of usual length are in whole executions.
PROBLEMS = {
    "mlp128": Problem(
        "MLP 784-512-512-32, ELBO", "mlp", {"hidden": (512, 512)}, 32, batch_size=128,
        num_images=12_288,
    ),
    "mlp512": Problem(
        "MLP 784-512-512-32, ELBO", "mlp", {"hidden": (512, 512)}, 32, batch_size=512,
        num_images=16_384,
    ),
    "iwae": Problem(
        "MLP 784-200-200-50, IWAE with 50 samples", "mlp", {"hidden": (200, 200)}, 50,
        batch_size=100, num_images=1_600, num_samples=50,
    ),
    "conv": Problem(
        "default conv network, 32 latents, ELBO", "conv", {}, 32, batch_size=128, num_images=4_096
    ),
}  # fmt: skip


class Weights(NamedTuple):
    """The weights of both networks, as `get_weights` of the Keras models has them."""

    encoder: list[np.ndarray]
    decoder: list[np.ndarray]


class Data(NamedTuple):
    """What a contestant is given.

    Attributes:
        images: uint8 `[num_images, 28, 28, 1]` of 0 and 1; a multiple of the batch size.
        weights: To start from.
        data_dir: Of TFDS.
    """

    images: np.ndarray
    weights: Weights
    data_dir: str | None


def layers(weights: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The kernel and the bias of each layer."""
    return list(zip(weights[::2], weights[1::2], strict=True))


def product_sizes(problem: Problem, weights: Weights) -> list[tuple[int, int, int]]:
    """Each layer as the matrix product `[rows, inputs] @ [inputs, outputs]`, from the image on.

    A convolution counts as the product that it is once its patches lie in a matrix.
    """
    sizes = []
    width = IMAGE_SHAPE[0]
    for kernel, _ in layers(weights.encoder):
        if kernel.ndim == 4:
            width //= 2
            inputs = math.prod(kernel.shape[:3])
            sizes.append((problem.batch_size * width**2, inputs, kernel.shape[3]))
        else:
            sizes.append((problem.batch_size, *kernel.shape))
    for kernel, _ in layers(weights.decoder):
        rows = problem.batch_size * problem.num_samples
        if kernel.ndim == 4:
            height, width_of_kernel, outputs, inputs = kernel.shape
            sizes.append((rows * width**2, inputs, height * width_of_kernel * outputs))
            width *= 2
        else:
            sizes.append((rows, *kernel.shape))
    return sizes
