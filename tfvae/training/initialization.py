"""What training starts from instead of random weights: the mean of the data, another model."""

import keras
import numpy as np
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.training import pretrained, runs, splits
from tfvae.training.settings import TrainingSettings
from tfvae.vae import VAE

# Some pixels are 0 in all images: a decoder that is sure of that would need infinite logits.
_LEAST_PROBABILITY = 0.001


def initialize(vae: VAE, settings: TrainingSettings) -> None:
    """Gives a model the weights that training starts from under these settings."""
    if settings.initial_model is not None:
        is_pretrained = settings.initial_model in pretrained.names()
        # The name means the same wherever the command is run.
        find = pretrained.folder_of if is_pretrained else pretrained.find_model
        copy_weights(runs.load_vae(find(settings.initial_model)), vae)
    elif settings.decoder_bias == "data_mean":
        binarization = "none" if settings.binarization == "dynamic" else settings.binarization
        images = splits.load_split(settings, "train", binarization=binarization, shuffle=False)
        set_decoder_bias(vae, images)


def set_decoder_bias(vae: VAE, images: tf.data.Dataset) -> None:
    """Sets the bias of the decoder's logits so that each pixel starts at its mean in the data.

    So the decoder need not spend its first steps on what all images have in common. A bias that
    all pixels of a channel share, as in convolutions, starts at the mean of the channel.
    """
    biases = [
        layer.bias for layer in vae.decoder.layers if getattr(layer, "bias", None) is not None
    ]
    total, count = np.zeros(vae.image_shape), 0
    for batch in images:
        total += tf.reduce_sum(tf.cast(batch, tf.float64), axis=0).numpy()
        count += len(batch)
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
    """Copies the weights of both networks of `source` to `vae`."""
    pairs = {part: (getattr(source, part), getattr(vae, part)) for part in ("encoder", "decoder")}
    for part, networks in pairs.items():
        there, here = map(_shapes, networks)
        if there != here:
            raise InputError(
                f"the initial model must have the networks of the settings; the {part} has weights "
                f"of shapes {there} there, and {here} here"
            )
    for from_network, to_network in pairs.values():
        to_network.set_weights(from_network.get_weights())


def _shapes(network: keras.Model) -> str:
    return ", ".join("x".join(map(str, weight.shape)) for weight in network.weights)
