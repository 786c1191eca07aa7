"""What TensorBoard shows of a VAE: curves, samples, reconstructions, latents."""

import abc
import math
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins import projector

from tfvae.common.checks import check_integer
from tfvae.common.files import atomic_write
from tfvae.common.images import check_images
from tfvae.figures.drawing import check_labels, image_grid, pair_rows
from tfvae.inference import active_units, kl_per_dimension
from tfvae.inference.batched_estimates import encode_in_batches

_THUMBNAIL_SIZE = 64


def tensorboard_callbacks(
    log_dir: str | os.PathLike, images: np.ndarray, labels: np.ndarray | None = None
) -> list[keras.callbacks.Callback]:
    """Callbacks that write what TensorBoard shows best of a VAE.

    Args:
        log_dir: What `tensorboard --logdir` reads.
        images: `[n, height, width, channels]`, floating, in [0, 1], best from the validation set:
            32 are reconstructed, 1000 are encoded.
        labels: `[n]`, for the colors of the projector.

    Returns:
        Callbacks for the curves (runs `train` and `validation`), for samples and reconstructions
        (run `images`), and for latents (run `latents`). List them after `KLWarmup`, to have the
        curve of beta.
    """
    labels = None if labels is None else labels[:1000]
    return [
        _Curves(log_dir, write_graph=False),
        ImageSummaries(Path(log_dir, "images"), images[:32]),
        LatentSummaries(Path(log_dir, "latents"), images[:1000], labels),
    ]


class _Curves(keras.callbacks.TensorBoard):
    """Keras's curves over epochs, and nothing else of it."""

    # Keras makes summaries of every step even where it writes only those of epochs: that takes a
    # quarter of a millisecond per step, and a wait for the device.
    on_train_batch_end = keras.callbacks.Callback.on_train_batch_end
    # It writes the curves of validation a second time, over steps.
    on_test_end = keras.callbacks.Callback.on_test_end


class _Summaries(keras.callbacks.Callback, abc.ABC):
    """Writes summaries of what a model makes of the same images, every so many epochs."""

    def __init__(self, log_dir, images, every):
        super().__init__()
        self.log_dir = Path(log_dir)
        self.images = images
        self.every = check_integer("every", every, minimum=1)

    def set_model(self, model: keras.Model) -> None:
        """Checks the images, before training starts."""
        super().set_model(model)
        self.images = check_images(self.images, model.image_shape)
        # Images that cannot be drawn are better refused now than at the end of an epoch.
        image_grid(self.images[:1])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the event file."""
        self._writer = tf.summary.create_file_writer(os.fspath(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the summaries of this epoch, if it is one of those."""
        diverged = not math.isfinite((logs or {}).get("loss", 0.0))
        if epoch % self.every == 0 and not diverged:
            with self._writer.as_default(step=epoch):
                self._write()
            self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the event file."""
        self._writer.close()

    @abc.abstractmethod
    def _write(self):
        """Writes summaries to the default writer, at its step."""


class ImageSummaries(_Summaries):
    """Shows in TensorBoard how samples and reconstructions improve.

    `samples` are the probabilities E[X|z] of the same latents z ~ p(Z) at every epoch, and
    `reconstructions` has E[X|z] at the mean of q(Z|x) under each row of images. TensorBoard keeps
    ten pictures of each; `tensorboard --samples_per_plugin images=1000` keeps all.

    Args:
        log_dir: A folder of its own, which TensorBoard calls a run.
        images: `[n, height, width, channels]`, floating, in [0, 1]: what is reconstructed.
        every: Write every so many epochs, beginning with the first.
        num_samples: How many samples.
        seed: Of the latents of the samples.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        images: np.ndarray,
        every: int = 1,
        num_samples: int = 64,
        seed: int = 0,
    ):
        super().__init__(log_dir, images, every)
        self.num_samples = num_samples
        self.seed = seed

    def _write(self):
        samples = self.model.sample(self.num_samples, seed=self.seed, mean=True)
        tf.summary.image("samples", image_grid(samples)[np.newaxis])
        pairs = pair_rows(self.images, self.model(self.images, training=False), columns=8)
        grid = image_grid(pairs.reshape(-1, *self.images.shape[1:]), columns=8)
        tf.summary.image("reconstructions", grid[np.newaxis])


class LatentSummaries(_Summaries):
    """Shows in TensorBoard what the latents hold.

    - Histograms: `kl_per_dimension`, the mean KL(q(Z_i|x) || p(Z_i)) of each latent dimension, in
      nats per image. Dimensions that the model does not use pile up at 0.
    - Scalars: the number of `tfvae.inference.active_units`.
    - Projector: the mean of q(Z|x) of every image, with its label and the image itself.

    Args:
        log_dir: A folder of its own, which TensorBoard calls a run.
        images: `[n, height, width, channels]`, floating, in [0, 1]; a thousand are enough.
        labels: `[n]`, numbers or text.
        every: Write every so many epochs, beginning with the first.
    """

    def __init__(
        self, log_dir: str | os.PathLike, images: np.ndarray, labels: Any = None, every: int = 1
    ):
        super().__init__(log_dir, images, every)
        self.labels = None if labels is None else check_labels(labels, len(images))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the event file, and writes of the projector's files those that do not change."""
        super().on_train_begin(logs)
        # The projector shows thumbnails and takes no more than 8192 x 8192 pixels of them.
        stride = math.ceil(max(self.images.shape[1:3]) / _THUMBNAIL_SIZE)
        thumbnails = self.images[:, ::stride, ::stride]
        config = projector.ProjectorConfig()
        embedding = config.embeddings.add(
            tensor_name="latent means", tensor_path="latent_means.tsv", metadata_path="labels.tsv"
        )
        embedding.sprite.image_path = "images.png"
        embedding.sprite.single_image_dim.extend([thumbnails.shape[2], thumbnails.shape[1]])
        labels = range(len(self.images)) if self.labels is None else self.labels
        self._write_text("labels.tsv", (" ".join(str(label).split()) for label in labels))
        grid = image_grid(thumbnails, padding=0)
        with atomic_write(self.log_dir / "images.png") as path:
            keras.utils.save_img(path, grid, data_format="channels_last", scale=False)
        self._write_latent_means(encode_in_batches(self.model, self.images))
        self._write_text("projector_config.pbtxt", [text_format.MessageToString(config)])

    def _write(self):
        posterior = encode_in_batches(self.model, self.images)
        tf.summary.histogram("kl_per_dimension", kl_per_dimension(posterior, self.model.prior))
        tf.summary.scalar("active_units", tf.math.count_nonzero(active_units(posterior)))
        self._write_latent_means(posterior)

    def _write_latent_means(self, posterior):
        rows = ("\t".join(f"{value:.5g}" for value in row) for row in posterior.mean().numpy())
        self._write_text("latent_means.tsv", rows)

    def _write_text(self, name, lines):
        with atomic_write(self.log_dir / name) as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
