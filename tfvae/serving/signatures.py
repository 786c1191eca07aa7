"""The signatures of the SavedModel, as functions of tensors."""

import math

import tensorflow as tf

from tfvae.serving import noise
from tfvae.serving.score import importance_weighted_score
from tfvae.vae import VAE

IMAGE_DTYPES = {"float32": tf.float32, "int8": tf.int8}


def signatures(
    vae: VAE, *, image_dtype: str = "float32", num_importance_samples: int = 256
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions that a server offers by name, each a function of its inputs alone, row by row.

    They take tensors, as their `input_signature` says, and give dictionaries of tensors. Values are
    not checked: a server puts several requests into one batch, and an assertion that one of them
    trips would fail them all.
    """
    images_spec = tf.TensorSpec((None, *vae.image_shape), IMAGE_DTYPES[image_dtype], name="images")
    latents_spec = tf.TensorSpec((None, vae.latent_dim), tf.float32, name="latents")
    seed_spec = tf.TensorSpec((None,), tf.int64, name="seed")
    num_pixels = math.prod(vae.image_shape)

    def floating(images):
        return images if images.dtype.is_floating else tf.cast(images, tf.float32)

    def encode(images):
        # The parameters themselves: mean() and stddev() would each multiply them by ones.
        normal = vae.encode(floating(images)).distribution
        return _single_precision(mean=normal.loc, stddev=normal.scale)

    def decode(latents):
        return _single_precision(probabilities=vae.decode(latents).mean())

    def reconstruct(images):
        return _single_precision(probabilities=vae(floating(images), training=False))

    def sample(seed):
        # Two draws, so that the noise of the pixels is made while the decoder runs.
        num_words = noise.normal_word_count(vae.latent_dim)
        latent_words = noise.random_words(seed, num_words)
        pixel_words = noise.random_words(
            seed, noise.uniform_word_count(num_pixels), start=num_words
        )
        latents = noise.standard_normal(latent_words, vae.latent_dim, dtype=vae.distribution_dtype)
        probabilities = tf.cast(vae.decode(latents).mean(), tf.float32)
        thresholds = tf.reshape(noise.uniform(pixel_words, num_pixels), tf.shape(probabilities))
        return _single_precision(
            images=thresholds < probabilities, probabilities=probabilities, latents=latents
        )

    def score(images, seed):
        images = floating(images)
        return importance_weighted_score(
            tf.cast(images, vae.distribution_dtype),
            seed,
            posterior=vae.encode(images),
            prior=vae.prior,
            decode=vae.decode,
            num_samples=num_importance_samples,
        )

    inputs = {
        encode: (images_spec,),
        decode: (latents_spec,),
        reconstruct: (images_spec,),
        sample: (seed_spec,),
        score: (images_spec, seed_spec),
    }
    served = {
        function.__name__: tf.function(function, input_signature=specs, autograph=False)
        for function, specs in inputs.items()
    }
    return {"serving_default": served["encode"], **served}


def _single_precision(**outputs):
    return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}
