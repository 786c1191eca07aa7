"""Encoder and decoder for ONNX Runtime and LiteRT, through Keras's own exporters."""

import importlib.util
import os
from pathlib import Path

import keras

from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.networks import layers_of
from tfvae.serving.export import check_exportable
from tfvae.serving.signatures import signatures
from tfvae.vae import VAE


def export_onnx(vae: VAE, folder: str | os.PathLike) -> tuple[Path, Path]:
    """Writes the encoder and the decoder for ONNX Runtime.

    `encoder.onnx` takes `images` and gives `mean` and `stddev`; `decoder.onnx` takes `latents` and
    gives `probabilities`: the signatures `encode` and `decode` of the SavedModel. The batch may be
    of any size.

    Args:
        vae: The model, float32.
        folder: Is made where it is missing; files in it of these names are replaced.

    Returns:
        The paths of encoder and decoder.

    Raises:
        InputError: If the packages that write ONNX are missing, or `vae` is not a float32 VAE.
        OSError: If the folder cannot be written to.
    """
    missing = [name for name in ("tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"writing ONNX needs {' and '.join(missing)}: install it with "
            "`pip install 'tfvae[formats]'`"
        )
    return _export(vae, folder, keras_format="onnx", suffix=".onnx")


def export_litert(vae: VAE, folder: str | os.PathLike) -> tuple[Path, Path]:
    """Writes the encoder and the decoder for LiteRT (TensorFlow Lite), as `export_onnx` does.

    The files are `encoder.tflite` and `decoder.tflite`. The batch is 1 until the interpreter is
    told to resize it.
    """
    return _export(vae, folder, keras_format="litert", suffix=".tflite")


class _SignatureModel(keras.Model):
    """A signature as a model, which is what Keras exports."""

    def __init__(self, vae, function):
        super().__init__(name="signature")
        self.vae = vae
        self.function = function.python_function
        self.built = True

    def call(self, inputs):
        return self.function(inputs)


def _export(vae, folder, *, keras_format, suffix):
    check_exportable(vae)
    dtypes = {
        layer.compute_dtype
        for network in (vae.encoder, vae.decoder)
        for layer in layers_of(network)
    }
    if dtypes != {"float32"}:
        raise InputError(
            f"only float32 models can be exported to {keras_format}; this one computes in "
            f"{', '.join(sorted(dtypes))}: build it with dtype='float32' and set its weights"
        )
    served = signatures(vae)
    paths = []
    for name, function in (("encoder", served["encode"]), ("decoder", served["decode"])):
        model, path = _SignatureModel(vae, function), Path(folder) / f"{name}{suffix}"
        with atomic_write(path) as beside:
            model.export(
                str(beside),
                format=keras_format,
                input_signature=list(function.input_signature),
                verbose=False,
            )
        paths.append(path)
    return tuple(paths)
