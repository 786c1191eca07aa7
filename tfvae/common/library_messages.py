"""Keeps from users what libraries log of their own code, which no user can act on."""

import logging

_MESSAGES = (
    # TensorFlow Datasets calls it.
    "CounterV2 (from tensorflow.python.data.experimental.ops.counter) is deprecated",
    # Keras's export logs where it writes, which is a folder that is renamed at once.
    "Assets written to:",
    # TensorFlow Probability estimates effective sample sizes by a Fourier transform.
    "You are casting an input of type complex64 to an incompatible dtype float32",
)


def _is_for_users(record: logging.LogRecord) -> bool:
    return not any(message in record.getMessage() for message in _MESSAGES)


logging.getLogger("tensorflow").addFilter(_is_for_users)
