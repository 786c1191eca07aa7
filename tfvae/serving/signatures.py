"""The signatures of the SavedModel, as functions of tensors."""

from typing import NamedTuple

import tensorflow as tf

from tfvae.serving import noise
from tfvae.serving.score import importance_weighted_score
from tfvae.vae import VAE

IMAGE_DTYPES = {"float32": tf.float32, "int8": tf.int8}


class Signature(NamedTuple):
    """A function and what it takes.

    Attributes:
        function: From tensors, in the order of `inputs`, to a dictionary of tensors.
        inputs: The specification of each, with its name.
    """

    function: tf.types.experimental.PolymorphicFunction
    inputs: tuple[tf.TensorSpec, ...]


def signatures(
    vae: VAE, *, image_dtype: str = "float32", num_importance_samples: int = 256
) -> dict[str, Signature]:
    """The functions that a server offers, each a function of its inputs alone, row by row.

    Args:
        vae: The model.
        image_dtype: `"float32"`: images in [0, 1]; `"int8"`: images of 0 and 1.
        num_importance_samples: What `score` draws for each image.

    Returns:
        By name: `encode`, also as `serving_default` (images to mean and stddev), `decode` (latents
        to probabilities), `reconstruct` (images to probabilities), `sample` (seeds to images,
        probabilities and latents) and `score` (images and seeds to elbo, log_likelihood,
        reconstruction and kl, in nats per image). The batch is dimension 0 of every input and
        output. Values are not checked: a server puts several requests into one batch, and an
        assertion that one of them trips would fail them all.
    """
    images_spec = tf.TensorSpec((None, *vae.image_shape), IMAGE_DTYPES[image_dtype], name="images")
    latents_spec = tf.TensorSpec((None, vae.latent_dim), tf.float32, name="latents")
    seed_spec = tf.TensorSpec((None,), tf.int64, name="seed")

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
        return _sample(vae, seed)

    def score(images, seed):
        images = floating(images)
        return importance_weighted_score(
            tf.cast(images, vae.distribution_dtype),
            seed,
            posterior=vae.encode(images),
            prior=vae.prior,
            decode=vae.decode,
            num_samples=num_importance_samples,
        )._asdict()

    inputs = {
        encode: (images_spec,),
        decode: (latents_spec,),
        reconstruct: (images_spec,),
        sample: (seed_spec,),
        score: (images_spec, seed_spec),
    }
    served = {
        function.__name__: Signature(
            tf.function(function, input_signature=specs, autograph=False), specs
        )
        for function, specs in inputs.items()
    }
    return {"serving_default": served["encode"], **served}


def _sample(vae, seed):
    num_pixels = tf.TensorShape(vae.image_shape).num_elements()
    num_latent_words = noise.normal_word_count(vae.latent_dim)
    # Apart, so that the noise of the pixels is made while the decoder runs.
    latent_words = noise.random_words(seed, num_latent_words)
    pixel_words = noise.random_words(
        seed, noise.uniform_word_count(num_pixels), start=num_latent_words
    )
    latents = noise.standard_normal(latent_words, vae.latent_dim, dtype=vae.distribution_dtype)
    probabilities = tf.cast(vae.decode(latents).mean(), tf.float32)
    thresholds = tf.reshape(noise.uniform(pixel_words, num_pixels), tf.shape(probabilities))
    return _single_precision(
        images=thresholds < probabilities, probabilities=probabilities, latents=latents
    )


def _single_precision(**outputs):
    return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}
