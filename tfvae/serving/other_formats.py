"""Encoder and decoder for ONNX Runtime and LiteRT, through Keras's own exporters."""

import importlib.util
import os
from pathlib import Path

import keras
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.vae import VAE


def export_onnx(vae: VAE, folder: str | os.PathLike) -> tuple[Path, Path]:
    """Writes the encoder and the decoder for ONNX Runtime.

    `encoder.onnx` takes `images` and gives `mean` and `stddev`; `decoder.onnx` takes `latents` and
    gives `probabilities`: the signatures `encode` and `decode` of the SavedModel. The batch may be
    of any size.

    Args:
        vae: The model, float32.
        folder: Where the files shall be, made where it is missing; files there of these names are
            replaced.

    Returns:
        The paths of encoder and decoder.

    Raises:
        InputError: If the packages that write ONNX are missing, `vae` is not a float32 VAE, or the
            folder cannot be written to.
    """
    missing = [name for name in ("tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"writing ONNX needs {' and '.join(missing)}: install it with "
            "`pip install 'tfvae[formats]'`"
        )
    return _export(vae, folder, keras_format="onnx", suffix=".onnx")


def export_litert(vae: VAE, folder: str | os.PathLike) -> tuple[Path, Path]:
    """Writes the encoder and the decoder for LiteRT (TensorFlow Lite).

    `encoder.tflite` takes `images` and gives `mean` and `stddev`; `decoder.tflite` takes `latents`
    and gives `probabilities`. The batch is 1 until the interpreter is told to resize it.

    Args:
        vae: The model, float32.
        folder: Where the files shall be, made where it is missing; files there of these names are
            replaced.

    Returns:
        The paths of encoder and decoder.

    Raises:
        InputError: If `vae` is not a float32 VAE, or the folder cannot be written to.
    """
    return _export(vae, folder, keras_format="litert", suffix=".tflite")


class _Encoder(keras.Model):
    """From images to mean and stddev of q(Z|x)."""

    def __init__(self, vae):
        super().__init__(name="encoder")
        self.vae = vae
        self.built = True

    def call(self, images):
        posterior = self.vae.encode(images)
        return {"mean": posterior.mean(), "stddev": posterior.stddev()}


class _Decoder(keras.Model):
    """From latents to the probabilities of p(X|z)."""

    def __init__(self, vae):
        super().__init__(name="decoder")
        self.vae = vae
        self.built = True

    def call(self, latents):
        return {"probabilities": self.vae.decode(latents).mean()}


def _export(vae, folder, *, keras_format, suffix):
    if not isinstance(vae, VAE):
        raise InputError(f"only a tfvae.VAE can be exported; got {type(vae).__name__}")
    dtypes = {
        layer.compute_dtype
        for network in (vae.encoder, vae.decoder)
        for layer in network._flatten_layers()
    }
    if dtypes != {"float32"}:
        raise InputError(
            f"only float32 models can be exported to {keras_format}; this one computes in "
            f"{', '.join(sorted(dtypes))}: build it with dtype='float32' and set its weights"
        )
    parts = (
        (_Encoder(vae), tf.TensorSpec((None, *vae.image_shape), tf.float32, name="images")),
        (_Decoder(vae), tf.TensorSpec((None, vae.latent_dim), tf.float32, name="latents")),
    )
    paths = []
    for model, inputs in parts:
        path = Path(folder) / f"{model.name}{suffix}"
        try:
            with atomic_write(path) as beside:
                model.export(
                    str(beside), format=keras_format, input_signature=[inputs], verbose=False
                )
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        paths.append(path)
    return tuple(paths)
