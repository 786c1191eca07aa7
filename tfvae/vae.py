"""The variational autoencoder as a Keras model."""

from typing import Any, Literal

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfvae import networks, objectives
from tfvae.common import shapes
from tfvae.common.checks import check_integer
from tfvae.common.images import check_images
from tfvae.common.seeds import next_replica_seed, stateless_seed
from tfvae.distributions import factorial
from tfvae.fitting import fit_arguments, loops, optimizers, replicas
from tfvae.fitting.input_pipeline import WholeBatches
from tfvae.fitting.loops import Inputs
from tfvae.fitting.metrics import TermMeans


@keras.saving.register_keras_serializable(package="tfvae")
class VAE(keras.Model):
    """A variational autoencoder of images, latents, an encoder, a decoder and a fixed prior.

    The encoder gives a factorial normal q(Z|x), the decoder a factorial Bernoulli p(X|z), and the
    prior p(Z) is N(0, I). `fit` maximizes the objective that `compile` was given, the ELBO unless
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
        InputError: If the shapes are not possible, or the networks do not fit each other; from
            every method, if it cannot use an argument. The message says what to do.

    Example:
        >>> vae = tfvae.VAE(image_shape=(28, 28, 1), latent_dim=32)
        >>> vae.compile(optimizer="adam")
        >>> vae.fit(tfvae.load_dataset("digits", split="train"), epochs=10)

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
        image_shape = image_shape or shapes.input_shape(encoder) or (28, 28, 1)
        image_shape = shapes.check_image_shape(image_shape)
        if latent_dim is None:
            latent_dim = shapes.latent_dim_of(encoder, decoder, image_shape) or 32
        # Networks: the user's, or default ones that fit.
        dtype = self.dtype_policy.name
        self.encoder = encoder or networks.mlp_encoder(image_shape, latent_dim, dtype=dtype)
        self.decoder = decoder or networks.mlp_decoder(image_shape, latent_dim, dtype=dtype)

        shapes.check_networks(self.encoder, self.decoder, image_shape, latent_dim)
        self.image_shape = image_shape
        self.latent_dim = latent_dim

        # Evaluation draws noise from a stream of its own, so that it does not change training.
        self.training_noise = keras.random.SeedGenerator()
        self.evaluation_noise = keras.random.SeedGenerator()
        self.built = True
        self.strategy = tf.distribute.get_strategy()
        self.is_replicated = tf.distribute.has_strategy()
        # What errors call the images of which the first batch is still to be checked, if any.
        self.images_to_check: str | None = None
        replicas.check_scope(self, self.strategy)

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
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))

    # The model: inference, generation.

    @property
    def distribution_dtype(self) -> tf.DType:
        """The type of all distributions: float64 in a float64 model, float32 in any other."""
        return tf.float64 if self.variable_dtype == "float64" else tf.float32

    @property
    def prior(self) -> tfd.Distribution:
        """p(Z) = N(0, I): batch shape `[]`, event shape `[latent_dim]`."""
        return factorial.standard_normal(self.latent_dim, dtype=self.distribution_dtype)

    def encode(self, images: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """The approximate posterior q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1].
            training: Passed on to the encoder.

        Returns:
            A factorial normal of batch shape `[batch]` and event shape `[latent_dim]`.
        """
        images = check_images(images, self.image_shape)
        parameters = self.encoder(images, training=training)
        return factorial.factorial_normal(parameters, dtype=self.distribution_dtype)

    def decode(self, latents: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """The likelihood p(X|z).

        Args:
            latents: `[..., latent_dim]`, floating: one for each image, or with more leading
                dimensions, such as `[num_samples, batch, latent_dim]`, all decoded in one batch.
            training: Passed on to the decoder.

        Returns:
            A factorial Bernoulli of batch shape `[...]` and event shape
            `[height, width, channels]`.
        """
        latents = shapes.check_latents(latents, self.latent_dim)
        logits = self.decoder(tf.reshape(latents, [-1, self.latent_dim]), training=training)
        if latents.shape.rank > 2:
            logits = tf.reshape(logits, tf.concat([tf.shape(latents)[:-1], self.image_shape], 0))
        return factorial.factorial_bernoulli(logits, dtype=self.distribution_dtype)

    def sample(self, count: int, seed: int | None = None, mean: bool = False) -> tf.Tensor:
        """Generates images: z ~ p(Z), then x ~ p(X|z).

        Args:
            count: How many.
            seed: The same seed gives the same images; None gives new ones at each call.
            mean: Whether to give the probabilities E[X|z] instead of the binary images.

        Returns:
            `[count, height, width, channels]`, float32: 0 or 1, or probabilities.
        """
        count = check_integer("count", count, minimum=1)
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
        """
        objective = objectives.ELBO(num_samples=num_samples)
        images = check_images(images, self.image_shape)
        noise = self.draw_noise(objective, images, stateless_seed(seed))
        return self.terms(objective, images, noise).elbo

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The mean reconstructions E[X|z] at the mean z of q(Z|x), of the shape of the images."""
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

    # The steps of training and evaluation. Where XLA compiles one loop over many steps, that loop
    # calls the two parts of a step itself: `inputs_of` for all batches, then `update` for each.

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step up the gradient of the objective on a batch."""
        self.update(self.inputs_of(data, self.training_noise))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The terms of the objective on a batch."""
        self.log_terms(self.inputs_of(data, self.evaluation_noise))
        return self.get_metrics_result()

    def inputs_of(self, data: Any, seeds: keras.random.SeedGenerator) -> Inputs:
        """What a step needs of a batch. The noise is drawn here, outside of what XLA compiles."""
        images, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images = check_images(images, self.image_shape)
        noise = self.draw_noise(self.objective, images, next_replica_seed(seeds))
        return Inputs(images, noise, sample_weight)

    def update(self, inputs: Inputs) -> None:
        """Updates the networks by the gradient of the loss, and logs the terms."""
        terms, loss, gradients = self._differentiate(inputs)
        gradients = replicas.mean_gradients(gradients, weight=inputs.num_images)
        with replicas.gradients_of_all_replicas(self.optimizer):
            self.optimizer.apply(gradients, self.trainable_variables)
        self.term_means.update_state(terms, loss, inputs.sample_weight)

    def log_terms(self, inputs: Inputs) -> None:
        """Logs the terms of the objective."""
        terms, loss = self._evaluate(inputs)
        self.term_means.update_state(terms, loss, inputs.sample_weight)

    @replicas.compiled_between_exchanges
    def _differentiate(self, inputs):
        with tf.GradientTape() as tape:
            terms = self.terms(self.objective, inputs.images, inputs.noise, training=True)
            loss = self._loss(terms, inputs.sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)
        return terms, loss, tape.gradient(scaled_loss, self.trainable_variables)

    @replicas.compiled_between_exchanges
    def _evaluate(self, inputs):
        terms = self.terms(self.objective, inputs.images, inputs.noise)
        return terms, self._loss(terms, inputs.sample_weight)

    def terms(
        self,
        objective: objectives.Objective,
        images: tf.Tensor,
        noise: tf.Tensor,
        training: bool = False,
    ) -> objectives.Terms:
        """What an objective makes of images, with noise that `draw_noise` gave."""
        return objective(
            tf.cast(images, self.distribution_dtype),
            posterior=self.encode(images, training=training),
            prior=self.prior,
            decode=lambda latents: self.decode(latents, training=training),
            noise=noise,
        )

    def draw_noise(
        self, objective: objectives.Objective, images: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """The noise with which an objective draws the latents of images, from a seed pair."""
        batch_size, dtype = tf.shape(images)[0], self.distribution_dtype
        return objective.draw_noise(batch_size, self.latent_dim, seed=seed, dtype=dtype)

    def _loss(self, terms, sample_weight):
        """What is minimized. As in Keras: the sum over the batch, divided by its size."""
        losses = -terms.objective
        if sample_weight is not None:
            losses *= tf.reshape(tf.cast(sample_weight, losses.dtype), [-1])
        # The part of a replica may be empty.
        loss = tf.reduce_sum(losses) / tf.maximum(tf.cast(tf.size(losses), losses.dtype), 1)
        return tf.add_n([loss, *(tf.cast(x, loss.dtype) for x in self.losses)])

    # What Keras calls around them.

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        objective: str | objectives.Objective = "elbo",
        *,
        steps_per_execution: int | Literal["auto"] = "auto",
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Sets how the model is trained.

        Args:
            optimizer: As in Keras. Under a strategy it is made again in the model's scope.
            objective: `"elbo"`, `"iwae"`, `"forward_kl"`, or an instance such as
                `tfvae.objectives.ELBO(beta=0.5)`.
            steps_per_execution: As in Keras, or `"auto"`: see `tfvae.fitting.loops.LoopChoice`.
            jit_compile: As in Keras; `"auto"` has XLA compile the steps where that is faster.
            **kwargs: `run_eagerly` and `auto_scale_loss`, as in Keras.

        Raises:
            InputError: If an argument is not possible, or a Keras loss or metric is given.
        """
        TermMeans.refuse_others(kwargs)
        replicas.check_scope(self, self.strategy)
        loop = loops.LoopChoice(steps_per_execution, jit_compile)
        optimizer, objective = keras.optimizers.get(optimizer), objectives.get(objective)
        with self.strategy.scope():
            if self.is_replicated:
                optimizer, objective = map(replicas.made_again, (optimizer, objective))
            super().compile(
                optimizer=optimizers.fuse(optimizer),
                steps_per_execution=1 if steps_per_execution == "auto" else steps_per_execution,
                jit_compile=jit_compile,
                **kwargs,
            )
            if self.is_replicated:
                replicas.sum_gradients_first(self.optimizer)
            self.objective, self.loop = objective, loop
            # Now rather than in the first step, so that a file always holds the same variables.
            self.optimizer.build(self.trainable_variables)
            self.term_means = TermMeans()

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model; takes what `keras.Model.fit` takes, without `class_weight`.

        Data are images, or tuples that start with images and may end with a sample weight;
        targets are ignored. The logs are `loss, elbo, reconstruction, kl` and `val_*`.
        """
        arguments = fit_arguments.by_name(super().fit, x, *args, **kwargs)
        if self.compiled:  # Else Keras says what to do.
            fit_arguments.prepare_fit(self, arguments)
            self.loop.prepare_fit(self, arguments)
        return super().fit(**arguments)

    def evaluate(
        self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any
    ) -> dict[str, float] | list[float]:
        """Evaluates the model; takes what `keras.Model.evaluate` takes, and data as `fit` does.

        Returns:
            The means of `loss, elbo, reconstruction, kl` over the images: a list in this order,
            or by name with `return_dict`.
        """
        arguments = fit_arguments.by_name(super().evaluate, x, *args, **kwargs)
        fit_arguments.prepare_evaluate(self, arguments)
        means = super().evaluate(**arguments, return_dict=True)
        return means if return_dict else [means[name] for name in self.metrics_names]

    def predict_on_batch(self, x: Any) -> Any:
        """As `predict`: replicas share the batch, where Keras gives each of them all of it."""
        if self.strategy.num_replicas_in_sync == 1:
            return super().predict_on_batch(x)
        return self.predict(x, batch_size=len(x), verbose=0)

    def make_train_function(self, force: bool = False) -> None:
        """Makes what `fit` calls with its iterator, `steps_per_execution` steps at a time."""
        if self.train_function is None or force:
            self.train_function: Any = loops.training_function(self)

    def make_test_function(self, force: bool = False) -> None:
        """Makes what `evaluate` calls with its iterator."""
        if self.test_function is None or force:
            self.test_function: Any = loops.test_function(self)

    @property
    def distribute_strategy(self) -> Any:
        """What Keras asks for data in place of `strategy`, in whose scope the model was made."""
        several = self.strategy.num_replicas_in_sync > 1
        return self.strategy if several else WholeBatches(self.strategy)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # A private hook of Keras: under a strategy it takes a batch from the data to build the
        # model, which is built. tests/fitting/test_replicas.py counts the batches.
        pass

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
        return config and {
            "optimizer": config["optimizer"],
            "objective": keras.saving.serialize_keras_object(self.objective),
            "run_eagerly": config["run_eagerly"],
            "steps_per_execution": self.loop.steps_per_execution,
            "jit_compile": self.loop.jit_compile,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the arguments of a config."""
        self.compile(**keras.saving.deserialize_keras_object(config))
