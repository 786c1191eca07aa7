"""A VAE written by hand in Keras, with a `train_step`, as in Keras's tutorials; nothing tuned."""

import keras
import numpy as np
import tensorflow as tf

from tfvae import networks
from training_peers.keras_turns import TakeTurns
from training_peers.problems import (
    IMAGE_SHAPE,
    LEARNING_RATE,
    SMALLEST_STDDEV,
    UNIT_SCALE,
    Weights,
)


class PlainVAE(keras.Model):
    def __init__(self, encoder, decoder, num_samples):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.num_samples = num_samples
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")
        self.kl_tracker = keras.metrics.Mean(name="kl")

    @property
    def metrics(self):
        return [self.loss_tracker, self.reconstruction_tracker, self.kl_tracker]

    def train_step(self, images):
        with tf.GradientTape() as tape:
            mean, scale = tf.split(self.encoder(images, training=True), 2, axis=-1)
            stddev = SMALLEST_STDDEV + tf.math.softplus(scale + UNIT_SCALE)
            shape = tf.concat([[self.num_samples], tf.shape(mean)], axis=0)
            noise = tf.random.normal(shape)
            latents = mean + stddev * noise
            logits = self.decoder(tf.reshape(latents, [-1, mean.shape[-1]]), training=True)
            logits = tf.reshape(logits, tf.concat([[self.num_samples], tf.shape(images)], axis=0))
            labels = tf.broadcast_to(images, tf.shape(logits))
            cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
            reconstruction = -tf.reduce_sum(cross_entropy, axis=[2, 3, 4])
            kl = tf.reduce_sum(
                0.5 * (tf.square(stddev) + tf.square(mean) - 1) - tf.math.log(stddev), axis=-1
            )
            if self.num_samples == 1:
                loss = tf.reduce_mean(kl - reconstruction)
            else:
                log_ratio = tf.reduce_sum(
                    0.5 * (tf.square(noise) - tf.square(latents)) + tf.math.log(stddev), axis=-1
                )
                bound = tf.reduce_logsumexp(reconstruction + log_ratio, axis=0)
                loss = tf.math.log(float(self.num_samples)) - tf.reduce_mean(bound)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.loss_tracker.update_state(loss)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return {metric.name: metric.result() for metric in self.metrics}


def train(problem, data, turns):
    keras.utils.set_random_seed(1)
    # tfvae's networks are plain Keras models; nothing else of it is used here.
    encoder, decoder = networks.build(
        problem.network, IMAGE_SHAPE, problem.latent_dim, **problem.sizes
    )
    encoder.set_weights(data.weights.encoder)
    decoder.set_weights(data.weights.decoder)
    vae = PlainVAE(encoder, decoder, problem.num_samples)
    vae.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE))
    images = data.images.astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images))
    batches = batches.batch(problem.batch_size)
    vae.fit(batches, epochs=turns.num_epochs, verbose=0, callbacks=[TakeTurns(turns)])
    return Weights(encoder.get_weights(), decoder.get_weights())
