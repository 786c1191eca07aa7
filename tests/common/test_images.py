from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.common.images import check_image_array, check_images

SHAPE = (28, 28, 1)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.full((32, 28, 28), 255, np.uint8),
            "images must be floats in [0, 1] of shape [batch, 28, 28, 1]; got uint8 of shape "
            "[32, 28, 28] with maximum 255: divide by 255 and add a channel axis",
        ),
        (np.full((2, *SHAPE), 255.0, np.float32), "with maximum 255: divide by 255"),
        (np.full((2, *SHAPE), 1.5, np.float32), "with maximum 1.5: scale to [0, 1]"),
        (np.full((2, *SHAPE), -1.0), "with minimum -1 and maximum -1: scale to [0, 1]"),
        (np.linspace(-1, 2, 784).reshape(1, *SHAPE), "with minimum -1 and maximum 2: scale to"),
        (np.ones((2, *SHAPE), np.uint8), "got uint8 of shape [2, 28, 28, 1] with maximum 1: cast"),
        (np.ones((2, *SHAPE), bool), "cast to float32"),
        (np.zeros(SHAPE), "got float64 of shape [28, 28, 1] with maximum 0: add a batch axis"),
        (np.zeros((2, 784)), "reshape to [-1, 28, 28, 1]"),
        (np.zeros((2, 32, 32, 3)), "image_shape=(32, 32, 3)"),
        ([[1.0], [2.0, 3.0]], "got list"),
        (np.full((2, *SHAPE), "a"), "of shape [2, 28, 28, 1]: give numbers"),
        (np.zeros((2, 28, 28, 3), np.uint8), "with maximum 0: cast to float32 and resize"),
        (1.0, "got float"),
        (np.zeros((1, 2, *SHAPE)), "give them 4 axes"),
    ],
)
def test_wrong_images_are_told_what_to_do(images, message):
    """With TensorFlow, and without."""
    for check in (check_images, check_image_array):
        with pytest.raises(InputError) as error:
            check(images, SHAPE)
        assert message in str(error.value)
        assert str(error.value).startswith(
            "images must be floats in [0, 1] of shape [batch, 28, 28, 1]; got "
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value):
    images = np.zeros((2, *SHAPE), np.float32)
    images[1, 3, 4] = value
    for check in (check_images, check_image_array):
        with pytest.raises(InputError, match="with 1 values not finite: remove NaN and infinity"):
            check(images, SHAPE)


def test_right_images_pass_with_their_dtype():
    for dtype in (np.float16, tf.bfloat16.as_numpy_dtype, np.float32, np.float64):
        for check in (check_images, check_image_array):
            assert check(np.ones((2, *SHAPE), dtype), SHAPE).dtype == dtype
            assert check(np.zeros((0, *SHAPE), dtype), SHAPE).shape[0] == 0
    with pytest.raises(InputError, match=r"empty: shape \[0, 28, 28, 1\]; give at least"):
        check_images(np.zeros((0, *SHAPE)), SHAPE, nonempty=True)


def test_binary_images_are_0_or_1():
    check_binary_images = partial(check_images, binary=True, nonempty=True)
    images = np.zeros((2, *SHAPE), np.float32)
    assert check_binary_images(images, SHAPE).dtype == np.float32
    with pytest.raises(InputError, match=r"images must be 0s and 1s .*: cast to float32"):
        check_binary_images(images > 0, SHAPE)
    with pytest.raises(InputError, match="give at least one image"):
        check_binary_images(images[:0], SHAPE)
    images[0, :3] = 0.5
    message = "images must be 0s and 1s .* maximum 0.5: binarize the 84 of 1568 values between"
    for check in (check_binary_images, partial(check_image_array, binary=True)):
        with pytest.raises(InputError, match=message):
            check(images, SHAPE)


def test_images_of_any_shape_and_type_of_numbers():
    check = partial(check_image_array, image_shape=None, floating=False)
    for images in (np.ones((2, 3, 4, 5), np.int8), np.zeros((1, 1, 1, 1), bool)):
        assert check(images) is images
    for images, message in (
        (np.zeros((3, 4, 5)), r"of shape \[batch, height, width, channels\]; .* 4 axes"),
        (np.full((1, 3, 4, 5), 255), "numbers in .* with maximum 255: divide by 255"),
        (np.full((1, 3, 4, 5), -1), "with minimum -1 and maximum -1: scale to"),
    ):
        with pytest.raises(InputError, match=message):
            check(images)


def test_inside_a_graph_dtype_and_shape_are_checked():
    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.float32)], autograph=False)
    def graph(images):
        return check_images(images, SHAPE)

    with pytest.raises(InputError, match="add a channel axis"):
        graph.get_concrete_function()
