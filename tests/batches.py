"""What the tests of data sets do with batches of images."""

import hashlib

import numpy as np


def epochs(dataset, count=1):
    """The images of several epochs, each as one array."""
    return [np.concatenate([images.numpy() for images in dataset]) for _ in range(count)]


def digest(array):
    """A text that two arrays share only if they are equal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
