import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2

from tfvae.common.errors import InputError
from tfvae.serving import messages, tensors

DTYPES = [np.float32, np.float64, np.int32, np.int8, np.int64]
FLOAT_IMAGES = tensors.TensorSpec(np.dtype(np.float32), (4, 6, 1))
BINARY_IMAGES = tensors.TensorSpec(np.dtype(np.int8), (4, 6, 1))


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, min_side=0))
    )
)
def test_arrays_go_over_the_wire_unchanged(array):
    tensor = messages.TensorProto()
    tensors.fill_tensor(tensor, array)
    received = tensors.array_of(messages.TensorProto.FromString(tensor.SerializeToString()))
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)
    official = tensor_pb2.TensorProto.FromString(tensor.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(official), array)


def test_values_are_read_from_lists_and_a_last_value_stands_for_the_rest():
    tensor = messages.TensorProto(dtype=1, float_val=[1.0, 2.0])
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    np.testing.assert_array_equal(tensors.array_of(tensor), [[1, 2, 2], [2, 2, 2]])
    del tensor.float_val[:]
    with pytest.raises(ValueError, match="reshape"):
        tensors.array_of(tensor)


@pytest.mark.parametrize(
    ("images", "spec", "message"),
    [
        (np.zeros((2, 4, 6)), FLOAT_IMAGES, "add a channel axis"),
        (np.zeros((4, 6, 1)), FLOAT_IMAGES, "add a batch axis"),
        (np.zeros((2, 24)), FLOAT_IMAGES, r"reshape to \[-1, 4, 6, 1\]"),
        (np.zeros((2, 28, 28, 1)), FLOAT_IMAGES, "another shape"),
        (np.float64(1.0), FLOAT_IMAGES, "got float64 of shape"),
        (np.zeros((2, 4, 6, 1), np.uint8), FLOAT_IMAGES, "cast them to float32"),
        (np.full((2, 4, 6, 1), 255.0), FLOAT_IMAGES, "maximum 255: divide by 255"),
        (np.full((2, 4, 6, 1), -0.5), FLOAT_IMAGES, "minimum -0.5"),
        (np.full((2, 4, 6, 1), np.nan), FLOAT_IMAGES, "remove NaN and infinity"),
        (np.full((2, 4, 6, 1), np.inf), BINARY_IMAGES, "remove NaN and infinity"),
        (np.full((2, 4, 6, 1), 0.5), BINARY_IMAGES, "binarise them"),
        (np.full((2, 4, 6, 1), 255), BINARY_IMAGES, "divide by 255"),
        (np.full((2, 4, 6, 1), "a"), BINARY_IMAGES, "cast them"),
        ([[1.0], [1.0, 2.0]], FLOAT_IMAGES, "images must be one array"),
    ],
)
def test_images_that_are_not_are_refused_with_what_to_do(images, spec, message):
    with pytest.raises(InputError, match=message):
        tensors.checked_images(images, spec)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_become_what_the_server_takes(dtype):
    images = np.ones((2, 4, 6, 1), dtype)
    assert tensors.checked_images(images, FLOAT_IMAGES).dtype == np.float32
    assert tensors.checked_images(images > 0, BINARY_IMAGES).dtype == np.int8
    assert tensors.checked_images(images[:0], BINARY_IMAGES).shape == (0, 4, 6, 1)


@pytest.mark.parametrize(
    "latents", [np.zeros((2, 4)), np.zeros(3), 1.0, [["a"] * 3], [[np.nan, 0, 0]]]
)
def test_latents_that_are_not_are_refused(latents):
    with pytest.raises(InputError, match=r"latents must be finite numbers of shape \[batch, 3\]"):
        tensors.checked_latents(latents, tensors.TensorSpec(np.dtype(np.float32), (3,)))


@pytest.mark.parametrize("seeds", [3, [1.5], ["1"], [2**63], [[1], [2]], [None], [True]])
def test_seeds_that_are_not_are_refused(seeds):
    with pytest.raises(InputError, match="seeds must be a sequence of integers"):
        tensors.checked_seeds(seeds)


def test_seeds_become_int64():
    for seeds in ([], range(3), [-(2**63), 2**63 - 1], np.arange(3, dtype=np.uint8)):
        checked = tensors.checked_seeds(seeds)
        assert checked.dtype == np.int64
        assert checked.tolist() == list(seeds)
    with pytest.raises(InputError, match="4 images need 4 seeds, one an image; got 3"):
        tensors.checked_seeds([1, 2, 3], 4)
