"""The VAE as KerasTuner sees it: a model whose latent size, and more, is chosen."""

import math
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from tfvae import networks, objectives
from tfvae.fitting.callbacks import KLWarmup
from tfvae.training import job as training
from tfvae.training.settings import TrainingSettings
from tfvae.tuning.search_settings import SearchSpace
from tfvae.vae import VAE

Images = Any
BuildNetwork = Callable[[keras_tuner.HyperParameters], keras.Model]


class VAEHyperModel(keras_tuner.HyperModel):
    """A VAE whose latent size, and what else is asked for, is chosen by KerasTuner.

    Subclass it, or give it networks of your own; any further hyperparameter that they ask `hp` for
    is searched too. It works with KerasTuner's own tuners as well as with `search`.

    Args:
        space: The values to choose from.
        training: The settings where nothing is chosen, with `epochs`, `patience` and `seed`.
        image_shape: `(height, width, channels)`.
        num_images: How many images there are to train on, for a learning rate that falls along a
            cosine to the last step; if None, the learning rate is constant.
        build_encoder: An encoder from `hp`, in place of the one of the settings; the latent size
            is `hp.get("latent_dim")`.
        build_decoder: A decoder from `hp`, likewise.

    Example:
        >>> def build_decoder(hp):
        ...     units = hp.Choice("units", [128, 512])
        ...     return tfvae.networks.mlp_decoder((28, 28, 1), hp.get("latent_dim"), (units,))
        >>> hypermodel = VAEHyperModel(SearchSpace(), build_decoder=build_decoder)
        >>> tuner = keras_tuner.RandomSearch(
        ...     hypermodel, objective=keras_tuner.Objective("val_elbo", "max")
        ... )
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
        self.image_shape = tuple(image_shape)
        self.num_images = num_images
        self.build_encoder = build_encoder
        self.build_decoder = build_decoder

    def settings(self, hp: keras_tuner.HyperParameters) -> TrainingSettings:
        """The settings of the training with what was chosen for a trial.

        Args:
            hp: The choices of the trial.

        Returns:
            Settings whose `epochs` and `patience` are numbers.

        Raises:
            InputError: If the longest warm-up of the space takes all of the epochs.
        """
        space = self.space
        if space.latent_range is None:
            latent_dim = hp.Choice("latent_dim", sorted(space.latent_dims), ordered=True)
        else:
            latent_dim = hp.Int("latent_dim", *space.latent_range, sampling="log")
        chosen = {"latent_dim": latent_dim}
        for name, values in (
            ("network", space.networks),
            ("learning_rate", space.learning_rates),
            ("batch_size", space.batch_sizes),
            ("beta", space.betas),
            ("warmup_epochs", space.warmup_epochs),
        ):
            if values:
                chosen[name] = hp.Choice(name, values)
        settings = self.training.replace(**chosen)
        steps_per_epoch = self._steps_per_epoch(settings)
        # The longest one as well, so that it is refused before any trial has begun.
        longest = max((settings.warmup_epochs, *space.warmup_epochs))
        training.with_epochs(settings.replace(warmup_epochs=longest), steps_per_epoch)
        return training.with_epochs(settings, steps_per_epoch)

    def build(self, hp: keras_tuner.HyperParameters) -> VAE:
        """The compiled model of a trial.

        Args:
            hp: The choices of the trial.

        Returns:
            The model, untrained.

        Raises:
            InputError: If the networks do not fit.
        """
        settings = self.settings(hp)
        sizes = self._sizes(hp, settings.network)
        encoder, decoder = networks.build(
            settings.network,
            self.image_shape,
            settings.latent_dim,
            dtype=settings.precision,
            **sizes,
        )
        vae = VAE(
            encoder=self.build_encoder(hp) if self.build_encoder else encoder,
            decoder=self.build_decoder(hp) if self.build_decoder else decoder,
            dtype=settings.precision,
        )
        if self.num_images is None:
            vae.compile(
                optimizer=keras.optimizers.Adam(settings.learning_rate),
                objective=objectives.ELBO(beta=settings.beta),
            )
        else:
            training.compile_vae(vae, settings, self._steps_per_epoch(settings))
        return vae

    def fit(
        self, hp: keras_tuner.HyperParameters, model: VAE, images: Images, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the model of a trial, in batches of the size that was chosen.

        Args:
            hp: The choices of the trial.
            model: What `build` gave.
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

    def _sizes(self, hp, network):
        if not self.space.widths and not self.space.depths:
            return {}
        width = hp.Choice("width", self.space.widths) if self.space.widths else 512
        depth = hp.Choice("depth", self.space.depths) if self.space.depths else 2
        if network == "mlp":
            return {"hidden": (width,) * depth}
        filters = tuple(max(1, width // 16) * 2**stage for stage in range(depth))
        return {"filters": filters, "hidden": max(1, width // 2)}

    def _steps_per_epoch(self, settings):
        return math.ceil((self.num_images or settings.batch_size) / settings.batch_size)
