import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from tfvae.serving import messages

OFFICIAL = {
    "TensorProto": tensor_pb2.TensorProto,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "TensorInfo": meta_graph_pb2.TensorInfo,
    "SignatureDef": meta_graph_pb2.SignatureDef,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "PredictLog": prediction_log_pb2.PredictLog,
    "PredictionLog": prediction_log_pb2.PredictionLog,
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
    assert_agree(messages._classes[name].DESCRIPTOR, OFFICIAL[name].DESCRIPTOR)


def test_the_official_messages_read_what_is_written_and_the_other_way_round():
    from tfvae.serving import tensors

    request = messages.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = 7
    request.model_spec.signature_name = "decode"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors.fill_tensor(request.inputs["latents"], array)
    official = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert official.model_spec.version.value == 7
    np.testing.assert_array_equal(tf.make_ndarray(official.inputs["latents"]), array)

    response = predict_pb2.PredictResponse()
    response.outputs["mean"].CopyFrom(tf.make_tensor_proto(array))
    ours = messages.PredictResponse.FromString(response.SerializeToString())
    np.testing.assert_array_equal(tensors.array_of(ours.outputs["mean"]), array)
