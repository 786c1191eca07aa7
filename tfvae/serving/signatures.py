"""The signatures of the SavedModel, as functions of tensors."""

import math

import tensorflow as tf

from tfvae.distributions import likelihoods
from tfvae.serving import noise
from tfvae.serving.score import importance_weighted_score
from tfvae.vae import VAE

IMAGE_DTYPES = {"float32": tf.float32, "int8": tf.int8}


def signatures(
    vae: VAE, *, image_dtype: str = "float32", num_importance_samples: int = 256
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions that a server offers by name, each a function of its inputs alone, row by row.

    They take tensors, as their `input_signature` says, and give dictionaries of tensors. A row of
    images outside of [0, 1], or of latents that are not finite, gives a row of NaN: a server puts
    several requests into one batch, and an assertion that one of them trips would fail them all.
    """
    images_spec = tf.TensorSpec((None, *vae.image_shape), IMAGE_DTYPES[image_dtype], name="images")
    latents_spec = tf.TensorSpec((None, vae.latent_dim), tf.float32, name="latents")
    seed_spec = tf.TensorSpec((None,), tf.int64, name="seed")
    num_pixels = math.prod(vae.image_shape)
    likelihood = likelihoods.Bernoulli()
    # E[X|z], the only output whose name depends on the model.
    mean_name = "probabilities" if isinstance(likelihood, likelihoods.Bernoulli) else "mean"

    def encode(images):
        # The parameters themselves: mean() and stddev() would each multiply them by ones.
        normal = vae.encode(_floating(images)).distribution
        return _where_possible(images, mean=normal.loc, stddev=normal.scale)

    def decode(latents):
        return _where_possible(latents, **{mean_name: vae.decode(latents).mean()})

    def reconstruct(images):
        return _where_possible(images, **{mean_name: vae(_floating(images), training=False)})

    def sample(seed):
        # Two draws, so that the noise of the pixels is made while the decoder runs.
        num_words = noise.normal_word_count(vae.latent_dim)
        latent_words = noise.random_words(seed, num_words)
        pixel_words = noise.random_words(
            seed, noise.uniform_word_count(num_pixels), start=num_words
        )
        latents = noise.standard_normal(latent_words, vae.latent_dim, dtype=vae.distribution_dtype)
        pixels = vae.decode(latents)
        uniform = tf.reshape(noise.uniform(pixel_words, num_pixels), [-1, *vae.image_shape])
        images = likelihood.sample(pixels, tf.cast(uniform, pixels.dtype))
        outputs = {"images": images, mean_name: pixels.mean(), "latents": latents}
        return _single_precision(**outputs)

    def score(images, seed):
        scores = importance_weighted_score(
            vae, _floating(images), seed, num_samples=num_importance_samples
        )
        return _where_possible(images, **scores)

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


def _floating(images):
    return images if images.dtype.is_floating else tf.cast(images, tf.float32)


def _where_possible(inputs, **outputs):
    """The outputs in float32, NaN in the rows of images or latents that are none."""
    axes = list(range(1, inputs.shape.rank))
    # Of a row with NaN, both are NaN, which is within no bounds.
    lowest, highest = tf.reduce_min(inputs, axis=axes), tf.reduce_max(inputs, axis=axes)
    low, high = (0, 1) if inputs.shape.rank == 4 else (inputs.dtype.min, inputs.dtype.max)
    is_possible = (lowest >= low) & (highest <= high)
    return {
        name: tf.where(
            tf.reshape(is_possible, [-1] + [1] * (output.shape.rank - 1)), output, math.nan
        )
        for name, output in _single_precision(**outputs).items()
    }


def _single_precision(**outputs):
    return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}
