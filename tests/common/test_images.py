import numpy as np
import pytest
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.common.images import check_images

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
        (np.full((2, *SHAPE), -1.0), "with minimum -1: scale to [0, 1]"),
        (np.linspace(-1, 2, 784).reshape(1, *SHAPE), "with minimum -1 and maximum 2: scale to"),
        (np.ones((2, *SHAPE), np.uint8), "got uint8 of shape [2, 28, 28, 1] with maximum 1: cast"),
        (np.ones((2, *SHAPE), bool), "cast to float32"),
        (np.zeros(SHAPE), "got float64 of shape [28, 28, 1] with maximum 0: add a batch axis"),
        (np.zeros((2, 784)), "reshape to [-1, 28, 28, 1]"),
        (np.zeros((2, 32, 32, 3)), "image_shape=(32, 32, 3)"),
        ([[1.0], [2.0, 3.0]], "got list"),
        (np.full((2, *SHAPE), "a"), "got string of shape [2, 28, 28, 1]: give numbers"),
    ],
)
def test_wrong_images_are_told_what_to_do(images, message):
    with pytest.raises(InputError) as error:
        check_images(images, SHAPE)
    assert message in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value):
    images = np.zeros((2, *SHAPE), np.float32)
    images[1, 3, 4] = value
    with pytest.raises(InputError, match="with 1 values not finite: remove NaN and infinity"):
        check_images(images, SHAPE)


def test_right_images_pass_with_their_dtype():
    for dtype in (np.float16, np.float32, np.float64):
        assert check_images(np.ones((2, *SHAPE), dtype), SHAPE).dtype == dtype
    assert check_images(np.zeros((0, *SHAPE)), SHAPE).shape[0] == 0


def test_inside_a_graph_dtype_and_shape_are_checked():
    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.float32)], autograph=False)
    def graph(images):
        return check_images(images, SHAPE)

    with pytest.raises(InputError, match="add a channel axis"):
        graph.get_concrete_function()
