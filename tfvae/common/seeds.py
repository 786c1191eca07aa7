"""Where the seeds of the noise come from: always a stateless pair, as TFP's samplers take it."""

import keras
import tensorflow as tf

from tfvae.common.checks import check_seed


def stateless_seed(seed: int | None) -> tf.Tensor:
    """The seed pair of one draw.

    Args:
        seed: A non-negative integer below 2**63 gives the same pair always. None gives a new
            pair at each call, in the sequence that `keras.utils.set_random_seed` fixes.

    Returns:
        int32 `[2]`.

    Raises:
        InputError: If `seed` is negative, too large or not an integer.
    """
    if seed is None:
        return tf.cast(keras.random.randint((2,), 0, 2**31 - 1), tf.int32)
    return tf.bitcast(tf.constant(check_seed(seed), tf.int64), tf.int32)


def next_replica_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed pair of a generator, another one on each replica of a strategy.

    Args:
        generator: Its state advances by one draw.

    Returns:
        int32 `[2]`.
    """
    seed = tf.bitcast(tf.cast(generator.next(), tf.uint32), tf.int32)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
