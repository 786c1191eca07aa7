"""The variational autoencoder as a Keras model."""

import inspect
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import networks, objectives
from tfvae.common import shapes
from tfvae.common.checks import check_positive
from tfvae.common.errors import InputError
from tfvae.common.images import check_images
from tfvae.common.seeds import next_replica_seed, stateless_seed
from tfvae.distributions import factorial as distributions
from tfvae.fitting import arguments as fitting
from tfvae.fitting import optimizers
from tfvae.fitting.loops import Inputs, LoopedModel
from tfvae.fitting.metrics import TermMeans

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfvae")
class VAE(LoopedModel):
    """A variational autoencoder of images, latents, an encoder, a decoder and a fixed prior.

    The encoder gives a factorial normal q(Z|x), the decoder a factorial Bernoulli p(X|z), and the
    prior p(Z) is N(0, I). `fit` maximises the objective that `compile` was given, the ELBO unless
    it was given another. All quantities are in nats per image.

    Args:
        image_shape: `(height, width, channels)`; where networks are given, theirs.
        latent_dim: The number of latent dimensions; where networks are given, theirs.
        encoder: A Keras model from images `[batch, height, width, channels]` to
            `[batch, 2 * latent_dim]`: the locations, then the unconstrained scales. By default
            `tfvae.networks.mlp_encoder`.
        decoder: A Keras model from latents `[batch, latent_dim]` to Bernoulli logits
            `[batch, height, width, channels]`. By default `tfvae.networks.mlp_decoder`.
        **kwargs: `name` and `dtype` (such as `"mixed_bfloat16"`), as Keras has them.

    Raises:
        InputError: If the shapes are not possible, or the networks do not fit each other.

    Example:
        >>> vae = tfvae.VAE(image_shape=(28, 28, 1), latent_dim=32)
        >>> vae.compile(optimizer="adam")
        >>> vae.fit(tfvae.load_dataset("digits", split="train"), epochs=10)
        >>> images = vae.sample(16, seed=0)

    References:
        Kingma and Welling. Auto-Encoding Variational Bayes. 2013. arXiv:1312.6114.
        Rezende et al. Stochastic Backpropagation and Approximate Inference in Deep Generative
        Models. 2014. arXiv:1401.4082.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] | None = None,
        latent_dim: int | None = None,
        *,
        encoder: keras.Model | None = None,
        decoder: keras.Model | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)

        # Shapes: as given, or else as the networks have them.
        image_shape = tuple(image_shape or shapes.input_shape(encoder) or (28, 28, 1))
        if latent_dim is None:
            latent_dim = shapes.latent_dim(encoder, decoder, image_shape) or 32

        # Networks: the user's, or default ones that fit.
        dtype = self.dtype_policy.name
        self.encoder = encoder or networks.mlp_encoder(image_shape, latent_dim, dtype=dtype)
        self.decoder = decoder or networks.mlp_decoder(image_shape, latent_dim, dtype=dtype)

        shapes.check_networks(self.encoder, self.decoder, image_shape, latent_dim)
        self.image_shape = image_shape
        self.latent_dim = latent_dim

        # Noise: evaluating draws from a stream of its own, so that it does not change training.
        self.training_noise = keras.random.SeedGenerator()
        self.evaluation_noise = keras.random.SeedGenerator()
        self.built = True
        self.check_scope()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal, untrained model."""
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "image_shape": self.image_shape,
            "latent_dim": self.latent_dim,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "VAE":
        """The model of a config."""
        config = dict(config)
        for part in ("encoder", "decoder", "dtype"):
            config[part] = keras.saving.deserialize_keras_object(
                config[part], custom_objects=custom_objects
            )
        return cls(**config)

    # The model: inference, generation.

    @property
    def distribution_dtype(self) -> tf.DType:
        """The type of all distributions: float64 in a float64 model, float32 in any other."""
        return tf.float64 if self.variable_dtype == "float64" else tf.float32

    @property
    def prior(self) -> tfd.Distribution:
        """p(Z) = N(0, I): batch shape `[]`, event shape `[latent_dim]`."""
        return distributions.standard_normal(self.latent_dim, dtype=self.distribution_dtype)

    def encode(self, images: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """The approximate posterior q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            training: Passed on to the encoder.

        Returns:
            A factorial normal of batch shape `[batch]` and event shape `[latent_dim]`.

        Raises:
            InputError: If `images` are not such images.
        """
        images = check_images(images, self.image_shape)
        parameters = self.encoder(images, training=training)
        return distributions.factorial_normal(parameters, dtype=self.distribution_dtype)

    def decode(self, latents: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """The likelihood p(X|z).

        Args:
            latents: `[..., latent_dim]`, floating: one for each image, or with more leading
                dimensions, such as `[num_samples, batch, latent_dim]`, all decoded in one batch.
            training: Passed on to the decoder.

        Returns:
            A factorial Bernoulli of batch shape `[...]` and event shape
            `[height, width, channels]`.

        Raises:
            InputError: If `latents` are of another shape or type.
        """
        latents = tf.convert_to_tensor(latents)
        shape = latents.shape
        if not (
            latents.dtype.is_floating
            and shape.rank not in (None, 0, 1)
            and shape[-1:].is_compatible_with([self.latent_dim])
        ):
            raise InputError(
                f"latents must be floats of shape [..., {self.latent_dim}], with a batch in front; "
                f"got {latents.dtype.name} of shape {shape}"
            )
        logits = self.decoder(tf.reshape(latents, [-1, self.latent_dim]), training=training)
        if shape.rank > 2:
            logits = tf.reshape(logits, tf.concat([tf.shape(latents)[:-1], self.image_shape], 0))
        return distributions.factorial_bernoulli(logits, dtype=self.distribution_dtype)

    def sample(self, count: int, seed: int | None = None, mean: bool = False) -> tf.Tensor:
        """Generates images: z ~ p(Z), then x ~ p(X|z).

        Args:
            count: How many.
            seed: The same seed gives the same images; None gives new ones at each call.
            mean: Whether to give the probabilities E[X|z] instead of the binary images.

        Returns:
            `[count, height, width, channels]`, float32: 0 or 1, or probabilities.

        Raises:
            InputError: If `count` is not positive, or `seed` is not a seed.
        """
        check_positive(count=count)
        latent_seed, pixel_seed = tf.unstack(
            tf.random.experimental.stateless_split(stateless_seed(seed), 2)
        )
        likelihood = self.decode(self.prior.sample(count, seed=latent_seed))
        return likelihood.mean() if mean else likelihood.sample(seed=pixel_seed)

    def elbo(self, images: tf.Tensor, num_samples: int = 1, seed: int | None = None) -> tf.Tensor:
        """The ELBO of each image, E_q[log p(x|z)] - KL(q(Z|x) || p(Z)).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            num_samples: How many latents estimate the expectation; the KL is closed-form.
            seed: The same seed gives the same estimate; None gives a new one at each call.

        Returns:
            `[batch]`, in nats per image.

        Raises:
            InputError: If `images` are not such images, `num_samples` is not positive, or `seed`
                is not a seed.
        """
        objective = objectives.ELBO(num_samples=num_samples)
        images = check_images(images, self.image_shape)
        noise = self._draw_noise(objective, images, stateless_seed(seed))
        return self._terms(objective, images, noise=noise).elbo

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The mean reconstructions, E[p(X|z)] at the mean z of q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            training: Passed on to encoder and decoder.

        Returns:
            `[batch, height, width, channels]`, probabilities.
        """
        latents = self.encode(images, training=training).mean()
        return self.decode(latents, training=training).mean()

    def save_own_variables(self, store: Any) -> None:
        """Saves the state of the noise, so that training goes on as if it had not stopped."""
        store["training_noise"] = self.training_noise.state.numpy()
        store["evaluation_noise"] = self.evaluation_noise.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Restores the state of the noise."""
        self.training_noise.state.assign(store["training_noise"])
        self.evaluation_noise.state.assign(store["evaluation_noise"])

    # Training and evaluation, as Keras calls them.

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        objective: str | objectives.Objective = "elbo",
        **kwargs: Any,
    ) -> None:
        """Sets how the model is trained.

        Args:
            optimizer: As in Keras.
            objective: `"elbo"`, `"iwae"`, `"forward_kl"`, or an instance such as
                `tfvae.objectives.ELBO(beta=0.5)`.
            **kwargs: `run_eagerly` and `auto_scale_loss`, as in Keras, and `steps_per_execution`
                and `jit_compile`: see `LoopedModel`, which chooses where they are `"auto"`.

        Raises:
            InputError: If there is no such objective, or a Keras loss or metric is given.
        """
        refused = {"loss", "loss_weights", "metrics", "weighted_metrics"} & set(kwargs)
        if refused:
            raise InputError(
                f"a VAE takes no {' or '.join(sorted(refused))}: it maximises its objective and "
                f"logs {', '.join(TermMeans.NAMES)}; use compile(objective=...)"
            )
        self.check_scope()
        with self.strategy.scope():
            self.objective = self.made_in_scope(objectives.get(objective))
            optimizer = optimizers.fuse(self.made_in_scope(keras.optimizers.get(optimizer)))
            super().compile(optimizer=optimizer, **kwargs)
            self.add_up_first(self.optimizer)
            # Now rather than in the first step, so that a file always holds the same variables.
            self.optimizer.build(self.trainable_variables)
            self.term_means = TermMeans()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of loss, elbo, reconstruction and kl, in one."""
        return [self.term_means] if self.compiled else []

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        return list(TermMeans.NAMES)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, with the objective as it stands now."""
        config = super().get_compile_config()
        if not config:
            return config
        arguments = ("optimizer", "run_eagerly", "steps_per_execution", "jit_compile")
        config = {name: config[name] for name in arguments}
        config["objective"] = keras.saving.serialize_keras_object(self.objective)
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the arguments of a config."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model; takes what `keras.Model.fit` takes.

        Args:
            x: Images: an array or a `tf.data.Dataset`, of `x`, `(x, label)` or `(x, x)`, with or
                without a sample weight behind. Targets are ignored.
            *args: As in `keras.Model.fit`.
            **kwargs: As in `keras.Model.fit`, without `class_weight`.

        Returns:
            Keras's `History`, with `loss, elbo, reconstruction, kl` and `val_*` a epoch.

        Raises:
            InputError: If the images are not such images, the data set is empty or a
                `class_weight` is given.
        """
        arguments = inspect.signature(super().fit).bind(x, *args, **kwargs).arguments
        fitting.complete_fit(arguments)
        replicas = self.strategy.num_replicas_in_sync
        for name, data, batch_size in fitting.data_of_fit(arguments):
            fitting.check_data(data, self.image_shape, name, batch_size, num_replicas=replicas)
        self.choose_loop(arguments)
        return super().fit(**arguments)

    def evaluate(
        self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any
    ) -> dict[str, float] | list[float]:
        """Evaluates the model; takes what `keras.Model.evaluate` takes.

        Args:
            x: As in `fit`.
            *args: As in `keras.Model.evaluate`.
            return_dict: Whether to return the means by name, or as a list in the order below.
            **kwargs: As in `keras.Model.evaluate`.

        Returns:
            The means of `loss, elbo, reconstruction, kl` over the images.

        Raises:
            InputError: If the images are not such images, or there are none.
        """
        arguments = inspect.signature(super().evaluate).bind(x, *args, **kwargs).arguments
        arguments.update(arguments.pop("kwargs", {}), return_dict=True)
        fitting.complete_targets(arguments)
        # `fit` has looked at its validation data once and for all epochs.
        if not kwargs.get("_use_cached_eval_dataset"):
            replicas = self.strategy.num_replicas_in_sync
            batch_size = arguments.get("batch_size")
            fitting.check_data(x, self.image_shape, "images", batch_size, num_replicas=replicas)
        means = super().evaluate(**arguments)
        return means if return_dict else [means[name] for name in self.metrics_names]

    def prepare(self, data: Any, noise: keras.random.SeedGenerator) -> Inputs:
        """What a step needs of a batch of data, the noise drawn."""
        images, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = check_images(images, self.image_shape)
        noise = self._draw_noise(self.objective, images, next_replica_seed(noise))
        return Inputs(images, noise, sample_weight)

    def train_on(self, inputs: Inputs) -> None:
        """One step up the gradient, once the noise is drawn."""
        num_images = self._num_images(inputs)
        terms, loss, gradients = self.heavy(self._differentiate)(inputs)
        self.descend(gradients, num_images)
        self._log(terms, loss, inputs)

    def test_on(self, inputs: Inputs) -> None:
        """The terms of the objective, once the noise is drawn."""
        terms, loss = self.heavy(self._evaluate)(inputs)
        self._log(terms, loss, inputs)

    def _log(self, terms, loss, inputs):
        loss_total = tf.math.multiply_no_nan(loss, self._num_images(inputs))
        self.term_means.update_state(terms, loss_total, sample_weight=inputs.sample_weight)

    def _draw_noise(self, objective, images, seed):
        batch_size, dtype = tf.shape(images)[0], self.distribution_dtype
        return objective.draw_noise(batch_size, self.latent_dim, seed=seed, dtype=dtype)

    def _num_images(self, inputs):
        """The number of images of this replica."""
        return tf.cast(tf.shape(inputs.images)[0], self.distribution_dtype)

    def _differentiate(self, inputs):
        with tf.GradientTape() as tape:
            terms, loss = self._evaluate(inputs, training=True)
            scaled_loss = self.optimizer.scale_loss(loss)
        return terms, loss, tape.gradient(scaled_loss, self.trainable_variables)

    def _evaluate(self, inputs, training=False):
        terms = self._terms(self.objective, inputs.images, noise=inputs.noise, training=training)
        return terms, self._loss(terms, inputs)

    def _terms(self, objective, images, *, noise, training=False):
        return objective(
            tf.cast(images, self.distribution_dtype),
            posterior=self.encode(images, training=training),
            prior=self.prior,
            decode=lambda latents: self.decode(latents, training=training),
            noise=noise,
        )

    def _loss(self, terms, inputs):
        """What is minimised: as Keras has it, the sum over the batch by the size of the batch."""
        losses = -terms.objective
        if inputs.sample_weight is not None:
            losses *= tf.reshape(tf.cast(inputs.sample_weight, losses.dtype), [-1])
        # The part of a replica may be empty.
        loss = tf.reduce_sum(losses) / tf.maximum(tf.cast(tf.size(losses), losses.dtype), 1)
        return tf.add_n([loss, *(tf.cast(x, loss.dtype) for x in self.losses)])
