"""The running means that `fit` and `evaluate` show."""

from collections.abc import Collection

import keras
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.objectives import Terms


class TermMeans(keras.metrics.Metric):
    """The means over images of what an objective gives: loss, elbo, reconstruction and kl.

    One metric of one vector rather than four of two scalars each: the same numbers for a fourth
    of the operations in every training step.
    """

    NAMES = ("loss", "elbo", "reconstruction", "kl")

    def __init__(self, name: str = "terms", dtype: str = "float32"):
        super().__init__(name=name, dtype=dtype)
        self.totals = self.add_weight(shape=(4,), initializer="zeros", name="totals")
        self.counts = self.add_weight(shape=(4,), initializer="zeros", name="counts")

    @classmethod
    def refuse_others(cls, compile_arguments: Collection[str]) -> None:
        """Raises `InputError` if Keras's losses or metrics are among the arguments of `compile`."""
        refused = {"loss", "loss_weights", "metrics", "weighted_metrics"} & set(compile_arguments)
        if refused:
            raise InputError(
                f"a VAE takes no {' or '.join(sorted(refused))}: it maximizes its objective and "
                f"logs {', '.join(cls.NAMES)}; use compile(objective=...)"
            )

    def update_state(
        self, terms: Terms, loss: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch.

        Args:
            terms: Of the batch, each `[batch]`, in nats per image.
            loss: What was minimized, the mean over the batch, a scalar.
            sample_weight: `[batch]`, the weights of the images in the means of the plain
                quantities; equal ones if None. (`loss` has them already.)
        """
        quantities = tf.stack([terms.elbo, terms.reconstruction, terms.kl])
        batch_size = tf.cast(tf.shape(quantities)[1], tf.float32)
        total_weight = batch_size
        if sample_weight is not None:
            quantities *= tf.cast(sample_weight, quantities.dtype)
            total_weight = tf.reduce_sum(tf.cast(sample_weight, tf.float32))
        totals = tf.cast(tf.reduce_sum(quantities, axis=1), tf.float32)
        # The part of a replica may be empty, and its loss not a number.
        loss_total = tf.math.multiply_no_nan(tf.cast(loss, tf.float32), batch_size)
        self.totals.assign_add(tf.concat([loss_total[tf.newaxis], totals], axis=0))
        self.counts.assign_add(tf.stack([batch_size] + 3 * [total_weight]))

    def result(self) -> dict[str, tf.Tensor]:
        """The means by name, scalars, in nats per image."""
        means = tf.unstack(tf.math.divide_no_nan(self.totals.value, self.counts.value))
        return dict(zip(self.NAMES, means, strict=True))
