"""Noise as a function of one seed per row: the same in any batch and process, on any machine."""

import math

import tensorflow as tf


def random_words(
    seed: tf.Tensor, count: int | tf.Tensor, *, start: int | tf.Tensor = 0
) -> tf.Tensor:
    """Uniform 64-bit words, uint64 `[batch, count]`, from one seed per row, int64 `[batch]`.

    A counter-based generator: the word at position i, from `start` on, is the fingerprint of
    state + i by FarmHash, where the state is the fingerprint of the seed, so that the states of
    neighboring seeds are far apart. TensorFlow's own stateless generators take one seed for a whole
    tensor, and a loop of them over the rows takes longer than the decoder.

    References:
        Salmon et al. Parallel Random Numbers: As Easy as 1, 2, 3. SC 2011. (Counters and a mixing
        function in place of a state that is advanced.)
    """
    positions = tf.range(count, dtype=tf.int64) + tf.cast(start, tf.int64)
    words = _fingerprint(tf.reshape(_fingerprint(seed)[:, tf.newaxis] + positions, [-1]))
    return tf.bitcast(tf.reshape(words, [tf.shape(seed)[0], count]), tf.uint64)


def normal_word_count(count: int) -> int:
    """How many words `standard_normal` takes for `count` values, which are made in pairs."""
    return count + count % 2


def standard_normal(words: tf.Tensor, count: int, *, dtype: tf.DType) -> tf.Tensor:
    """Standard normal noise `[..., count]` from words `[..., normal_word_count(count)]`.

    It is computed in float64: vectorized arithmetic may round differently at another place in the
    batch, and of that nothing is left in float32.

    References:
        Box and Muller. A Note on the Generation of Random Normal Deviates. Annals of Mathematical
        Statistics 29(2), 1958.
    """
    bits = tf.bitcast(tf.bitwise.right_shift(words, tf.constant(12, tf.uint64)), tf.int64)
    # 52 bits and a half are exact in float64: never 0, never 1.
    for_radius, for_angle = tf.split((tf.cast(bits, tf.float64) + 0.5) * 2.0**-52, 2, axis=-1)
    radius = tf.sqrt(-2.0 * tf.math.log(for_radius))
    angle = 2.0 * math.pi * for_angle
    values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)
    return tf.cast(values[..., :count], dtype)


def uniform_word_count(count: int) -> int:
    """How many words `uniform` takes for `count` values, two of which come from one word."""
    return (count + 1) // 2


def uniform(words: tf.Tensor, count: int) -> tf.Tensor:
    """Uniform noise in [0, 1), float32 `[batch, count]`, of the 24 bits that a float32 holds.

    The words are uint64 `[batch, uniform_word_count(count)]`.
    """
    words = tf.bitwise.bitwise_and(words, tf.constant(0x00FFFFFF_00FFFFFF, tf.uint64))
    halves = tf.reshape(tf.bitcast(words, tf.int32), [-1, 2 * uniform_word_count(count)])
    return tf.cast(halves[:, :count], tf.float32) * 2.0**-24


def _fingerprint(numbers):
    """A mixing function from int64 `[n]` to int64 `[n]` that is the same on every platform."""
    return tf.bitcast(tf.fingerprint(numbers[:, tf.newaxis]), tf.int64)
