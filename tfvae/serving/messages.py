"""The messages of TensorFlow Serving's gRPC interface and configuration, without TensorFlow.

Their official package, `tensorflow-serving-api`, requires and imports TensorFlow: hundreds of
megabytes and several seconds that a client has no use for. What stands here are the fields that are
used, by their numbers on the wire, in a pool of their own, so that both may live in one process.

References:
    https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
    https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/framework
"""

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message: {field: (number, type)}; "*" marks a repeated field. On the wire an enum is an int32, a
# map is repeated entries of key and value, and names do not exist, so that messages which the
# official package nests in others can have names of their own here.
_MESSAGES = {
    "Dimension": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "Dimension*"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "int_val": (7, "int32*"),
        "int64_val": (10, "int64*"),
    },
    "TensorEntry": {"key": (1, "string"), "value": (2, "TensorProto")},
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "TensorEntry*")},
    "PredictResponse": {"outputs": (1, "TensorEntry*")},
    "TensorInfo": {"dtype": (2, "int32"), "tensor_shape": (3, "TensorShapeProto")},
    "InfoEntry": {"key": (1, "string"), "value": (2, "TensorInfo")},
    "SignatureDef": {"inputs": (1, "InfoEntry*"), "outputs": (2, "InfoEntry*")},
    "SignatureEntry": {"key": (1, "string"), "value": (2, "SignatureDef")},
    "SignatureDefMap": {"signature_def": (1, "SignatureEntry*")},
    "Any": {"value": (2, "bytes")},
    "AnyEntry": {"key": (1, "string"), "value": (2, "Any")},
    "GetModelMetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "string*")},
    "GetModelMetadataResponse": {"metadata": (2, "AnyEntry*")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    # The file models.config.
    "Specific": {"versions": (1, "int64*")},
    "ServableVersionPolicy": {"specific": (102, "Specific")},
    "LabelEntry": {"key": (1, "string"), "value": (2, "int64")},
    "ModelConfig": {
        "name": (1, "string"),
        "base_path": (2, "string"),
        "model_platform": (4, "string"),
        "model_version_policy": (7, "ServableVersionPolicy"),
        "version_labels": (8, "LabelEntry*"),
    },
    "ModelConfigList": {"config": (1, "ModelConfig*")},
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList")},
}


def _message_classes():
    file = descriptor_pb2.FileDescriptorProto(
        name="tfvae/serving.proto", package="tfvae.serving", syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind.islower():
                field.type = getattr(field, f"TYPE_{kind.upper()}")
            else:
                field.type, field.type_name = field.TYPE_MESSAGE, f".tfvae.serving.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


_classes = _message_classes()
TensorProto = _classes["tfvae.serving.TensorProto"]
PredictRequest = _classes["tfvae.serving.PredictRequest"]
PredictResponse = _classes["tfvae.serving.PredictResponse"]
SignatureDefMap = _classes["tfvae.serving.SignatureDefMap"]
GetModelMetadataRequest = _classes["tfvae.serving.GetModelMetadataRequest"]
GetModelMetadataResponse = _classes["tfvae.serving.GetModelMetadataResponse"]
PredictionLog = _classes["tfvae.serving.PredictionLog"]
ModelServerConfig = _classes["tfvae.serving.ModelServerConfig"]

# TensorFlow's number of a dtype: NumPy's dtype, and the field of values that do not come as bytes.
_DTYPES: dict[int, tuple[np.dtype, str]] = {
    1: (np.dtype("<f4"), "float_val"),
    6: (np.dtype("i1"), "int_val"),
    9: (np.dtype("<i8"), "int64_val"),
}
_NUMBERS = {dtype: number for number, (dtype, _) in _DTYPES.items()}


def tensor_of(array: np.ndarray) -> Any:
    """The `TensorProto` of a float32, int8 or int64 array."""
    tensor = TensorProto(dtype=_NUMBERS[array.dtype], tensor_content=array.tobytes())
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def array_of(tensor: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a `TensorProto`; `ValueError` if it is none of this type and shape."""
    # Before anything is allocated: a few bytes can claim any shape.
    if dtype_and_shape(tensor) != (dtype, shape):
        raise ValueError("a tensor of another type or shape")
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape).copy()
    values = np.asarray(getattr(tensor, _DTYPES[tensor.dtype][1]), dtype)
    # Trailing equal values need not be sent: the last one stands for the rest.
    missing = int(np.prod(shape)) - values.size
    if missing > 0 and values.size:
        values = np.pad(values, (0, missing), mode="edge")
    return values.reshape(shape)


def dtype_and_shape(described: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """What a `TensorProto` or `TensorInfo` says; `ValueError` if no array of ours can have it."""
    if described.dtype not in _DTYPES or described.tensor_shape.unknown_rank:
        raise ValueError(f"a tensor of type {described.dtype}, or of no rank")
    return _DTYPES[described.dtype][0], tuple(d.size for d in described.tensor_shape.dim)
