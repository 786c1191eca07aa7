"""What training starts from instead of random weights: the mean of the data, another model."""

import keras
import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.vae import VAE

# Some pixels are 0 in all images: a decoder that is sure of that would need infinite logits.
_LEAST_PROBABILITY = 0.001


def set_decoder_bias(vae: VAE, images: tf.data.Dataset) -> None:
    """Sets the bias of the decoder's logits so that each pixel starts at its mean in the data.

    Where a bias is shared by all pixels of a channel, as in convolutions, it is at the mean of the
    channel. So the decoder need not spend its first steps on what all images have in common.

    Args:
        vae: The model; its decoder's last layer with a bias is changed.
        images: Batches `[batch, height, width, channels]`, in [0, 1].

    Raises:
        InputError: If the decoder has no bias of such a shape.
    """
    biases = [
        layer.bias for layer in vae.decoder.layers if getattr(layer, "bias", None) is not None
    ]
    total, count = np.zeros(vae.image_shape), 0
    for batch in images:
        total += tf.reduce_sum(tf.cast(batch, tf.float64), axis=0).numpy()
        count += batch.shape[0]
    mean = np.clip(total / count, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    if biases and biases[-1].shape == (mean.size,):
        mean = mean.ravel()
    elif biases and biases[-1].shape == mean.shape[-1:]:
        mean = mean.mean(axis=(0, 1))
    else:
        found = f"its last one has shape {tuple(biases[-1].shape)}" if biases else "it has none"
        raise InputError(
            f"the decoder must end in a layer with a bias for each of the {mean.size} values of "
            f"an image, or for each channel; {found}"
        )
    biases[-1].assign(np.log(mean) - np.log1p(-mean))


def copy_weights(source: VAE, vae: VAE) -> None:
    """Copies the weights of both networks of a model to another model.

    Args:
        source: Whose weights are taken.
        vae: Whose weights are replaced.

    Raises:
        InputError: If their networks have not the same weights.
    """
    for part in ("encoder", "decoder"):
        taken, replaced = getattr(source, part), getattr(vae, part)
        if _shapes(taken) != _shapes(replaced):
            raise InputError(
                f"the initial model must have the networks of the settings; the {part} has weights "
                f"of shapes {_described(taken)} there, and {_described(replaced)} here"
            )
    for part in ("encoder", "decoder"):
        getattr(vae, part).set_weights(getattr(source, part).get_weights())


def _shapes(network: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in network.weights]


def _described(network):
    return ", ".join("x".join(map(str, shape)) for shape in _shapes(network))
