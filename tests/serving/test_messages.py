import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfvae.serving import messages

OFFICIAL = {
    "TensorProto": tensor_pb2.TensorProto,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "PredictionLog": prediction_log_pb2.PredictionLog,
    "ModelServerConfig": model_server_config_pb2.ModelServerConfig,
}

ENUM, INT32 = 14, 5


def assert_agree(ours, official, seen=()):
    """Every field of ours is the official one, on the wire, and so are the messages in it."""
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        assert field.number == other.number
        assert field.is_repeated == other.is_repeated
        assert field.type == (INT32 if other.type == ENUM else other.type)
        assert field.is_packed == other.is_packed
        if field.message_type is not None and field.message_type.name not in seen:
            assert_agree(field.message_type, other.message_type, (*seen, ours.name))


@pytest.mark.parametrize("name", OFFICIAL)
def test_fields_are_those_of_the_official_messages(name):
    assert_agree(getattr(messages, name).DESCRIPTOR, OFFICIAL[name].DESCRIPTOR)


def test_the_official_messages_read_what_is_written_and_the_other_way_round():
    request = messages.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = 7
    request.model_spec.signature_name = "decode"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    request.inputs.add(key="latents", value=messages.tensor_of(array))
    official = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert official.model_spec.version.value == 7
    np.testing.assert_array_equal(tf.make_ndarray(official.inputs["latents"]), array)

    response = predict_pb2.PredictResponse()
    response.outputs["mean"].CopyFrom(tf.make_tensor_proto(array))
    ours = messages.PredictResponse.FromString(response.SerializeToString())
    assert [output.key for output in ours.outputs] == ["mean"]
    taken = messages.array_of(ours.outputs[0].value, array.dtype, array.shape)
    np.testing.assert_array_equal(taken, array)


@given(
    st.sampled_from([np.float32, np.int8, np.int64]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, min_side=0))
    )
)
def test_arrays_go_over_the_wire_unchanged(array):
    sent = messages.tensor_of(array).SerializeToString()
    received = messages.TensorProto.FromString(sent)
    received = messages.array_of(received, array.dtype, array.shape)
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)
    np.testing.assert_array_equal(tf.make_ndarray(tensor_pb2.TensorProto.FromString(sent)), array)


def test_values_are_read_from_lists_and_a_last_value_stands_for_the_rest():
    tensor = messages.TensorProto(dtype=1, float_val=[1.0, 2.0])
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    expected = np.dtype(np.float32), (2, 3)
    np.testing.assert_array_equal(messages.array_of(tensor, *expected), [[1, 2, 2], [2, 2, 2]])
    with pytest.raises(ValueError, match="another type or shape"):
        messages.array_of(tensor, np.dtype(np.float32), (3, 2))
    del tensor.float_val[:]
    with pytest.raises(ValueError, match="reshape"):
        messages.array_of(tensor, *expected)
    with pytest.raises(ValueError, match="of type 7"):
        messages.array_of(messages.TensorProto(dtype=7), *expected)
