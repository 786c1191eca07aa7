"""Where the seeds of the noise come from: always a stateless pair, as TFP's samplers take it."""

import keras
import tensorflow as tf

from tfvae.common.checks import check_seed


def stateless_seed(seed: int | None) -> tf.Tensor:
    """Returns the seed pair of one draw, int32 `[2]`.

    The same seed gives the same pair always. None gives a new pair at each call, in the sequence
    that `keras.utils.set_random_seed` fixes. What is no seed raises `InputError`.
    """
    if seed is None:
        return tf.cast(keras.random.randint((2,), 0, 2**31 - 1), tf.int32)
    return tf.bitcast(tf.constant(check_seed(seed), tf.int64), tf.int32)


def next_replica_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Returns the next seed pair of a generator, int32 `[2]`, another one on each replica."""
    seed = tf.bitcast(tf.cast(generator.next(), tf.uint32), tf.int32)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
