"""The VAE as KerasTuner sees it: a model whose latent size, and more, is chosen."""

import math
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from tfvae.fitting.callbacks import KLWarmup
from tfvae.training import job
from tfvae.training.settings import TrainingSettings
from tfvae.tuning.search_settings import SearchSpace
from tfvae.vae import VAE

DEFAULT_LATENT_DIMS = (2, 4, 8, 16, 32, 64)

BuildNetwork = Callable[[keras_tuner.HyperParameters], keras.Model]


class VAEHyperModel(keras_tuner.HyperModel):
    """A VAE whose latent size, and what else is asked for, is chosen by KerasTuner.

    Subclass it, or give it your own networks; any further hyperparameter that they ask `hp` for is
    searched too. It works with KerasTuner's own tuners as well as with `search`.

    Args:
        space: The values to choose from.
        training: The settings where nothing is chosen.
        image_shape: `(height, width, channels)`.
        num_images: The number of training images, which the schedule of the learning rate needs; if
            None, the learning rate is constant.
        build_encoder: A function from `hp` to an encoder, in place of that of the settings; the
            latent size is `hp.get("latent_dim")`.
        build_decoder: A function from `hp` to a decoder, likewise.

    Example:
        >>> hypermodel = VAEHyperModel(SearchSpace(latent_dims=(2, 8)), num_images=len(images))
        >>> objective = keras_tuner.Objective("val_elbo", "max")
        >>> tuner = keras_tuner.RandomSearch(hypermodel, objective=objective)
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        training: TrainingSettings | None = None,
        *,
        image_shape: tuple[int, int, int] = (28, 28, 1),
        num_images: int | None = None,
        build_encoder: BuildNetwork | None = None,
        build_decoder: BuildNetwork | None = None,
    ):
        super().__init__()
        self.space = space or SearchSpace()
        self.training = training or TrainingSettings()
        self.image_shape = image_shape
        self.num_images = num_images
        self.build_encoder = build_encoder
        self.build_decoder = build_decoder

    def settings(self, hp: keras_tuner.HyperParameters) -> TrainingSettings:
        """Returns the settings of a training with the values of a trial, all of them numbers."""
        space = self.space
        if space.latent_range:
            chosen = {"latent_dim": hp.Int("latent_dim", *space.latent_range, sampling="log")}
        else:
            latent_dims = sorted(space.latent_dims or DEFAULT_LATENT_DIMS)
            chosen = {"latent_dim": hp.Choice("latent_dim", latent_dims)}
        choices = {"network": space.networks, "learning_rate": space.learning_rates}
        choices |= {"batch_size": space.batch_sizes, "beta": space.betas}
        choices |= {"warmup_epochs": space.warmups}
        chosen |= {name: hp.Choice(name, list(given)) for name, given in choices.items() if given}
        if space.widths or space.depths:
            width = hp.Choice("width", list(space.widths)) if space.widths else 512
            depth = hp.Choice("depth", list(space.depths)) if space.depths else 2
            chosen |= {"hidden": (width,) * depth, "filters": None}
            if chosen.get("network", self.training.network) != "mlp":
                filters = tuple(max(1, width // 16) * 2**stage for stage in range(depth))
                chosen |= {"hidden": (max(1, width // 2),), "filters": filters}
        if self.num_images is None:
            chosen["learning_rate_schedule"] = "constant"
        settings = self.training.replace(**chosen)
        # The longest one as well, so that it is refused before any trial has begun.
        longest = max(space.warmups or (settings.warmup_epochs,))
        steps = self._steps_per_epoch(settings)
        job.with_epochs(settings.replace(warmup_epochs=longest), steps)
        return job.with_epochs(settings, steps)

    def build(self, hp: keras_tuner.HyperParameters) -> VAE:
        """Returns the compiled, untrained model of a trial."""
        settings = self.settings(hp)
        vae = job.build_vae(settings, self.image_shape)
        if self.build_encoder or self.build_decoder:
            vae = VAE(
                encoder=self.build_encoder(hp) if self.build_encoder else vae.encoder,
                decoder=self.build_decoder(hp) if self.build_decoder else vae.decoder,
                dtype=settings.precision,
            )
        job.compile_vae(vae, settings, self._steps_per_epoch(settings))
        return vae

    def fit(
        self, hp: keras_tuner.HyperParameters, model: VAE, images: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the model of a trial, in batches of the size that was chosen.

        Args:
            hp: The values of the trial.
            model: What `build` returned.
            images: An array `[n, height, width, channels]`; a `tf.data.Dataset` of batches; or a
                function from a batch size to one.
            **kwargs: As in `keras.Model.fit`.

        Returns:
            Keras's `History`.
        """
        settings = self.settings(hp)
        if callable(images):
            images = images(settings.batch_size)
        elif not isinstance(images, tf.data.Dataset):
            kwargs["batch_size"] = settings.batch_size
        elif self.space.batch_sizes:
            images = images.rebatch(settings.batch_size)
        kwargs.setdefault("epochs", settings.epochs)
        if settings.warmup_epochs:
            warmup = KLWarmup(settings.warmup_epochs, end=settings.beta)
            kwargs["callbacks"] = [warmup, *(kwargs.get("callbacks") or [])]
        return model.fit(images, **kwargs)

    def _steps_per_epoch(self, settings):
        return math.ceil((self.num_images or settings.batch_size) / settings.batch_size)
