"""The messages of TensorFlow Serving's gRPC interface, without TensorFlow.

The official package of these messages imports TensorFlow, hundreds of megabytes and seconds that
a client has no use for. What stands here are the fields that are used, by their numbers on the
wire, in a pool of their own, so that both may live in one process.

References:
    https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
    https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/framework
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}

# Message: {field: (number, type)}; "*" is a repeated field, "{}" a map from strings. An enum is an
# int32 on the wire. Nested messages have names of their own here: names do not go over the wire.
_MESSAGES = {
    "Dimension": {"size": (1, "int64"), "name": (2, "string")},
    "TensorShapeProto": {"dim": (2, "Dimension*"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float*"),
        "double_val": (6, "double*"),
        "int_val": (7, "int32*"),
        "int64_val": (10, "int64*"),
    },
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "TensorProto{}")},
    "PredictResponse": {"outputs": (1, "TensorProto{}"), "model_spec": (2, "ModelSpec")},
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShapeProto"),
    },
    "SignatureDef": {"inputs": (1, "TensorInfo{}"), "outputs": (2, "TensorInfo{}")},
    "SignatureDefMap": {"signature_def": (1, "SignatureDef{}")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, "string*"),
    },
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "Any{}")},
    "PredictLog": {"request": (1, "PredictRequest"), "response": (2, "PredictResponse")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def _message_classes():
    package = "tfvae.serving"
    file = descriptor_pb2.FileDescriptorProto(
        name="tfvae/serving.proto", package=package, syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, field_type) in fields.items():
            element = field_type.rstrip("*{}")
            if field_type.endswith("{}"):
                # A map is a repeated message of key and value.
                entry_name = "".join(map(str.capitalize, field_name.split("_"))) + "Entry"
                entry = message.nested_type.add(name=entry_name)
                entry.options.map_entry = True
                _add_field(entry, "key", 1, "string")
                _add_field(entry, "value", 2, element)
                element = f"{message_name}.{entry_name}"
            field = _add_field(message, field_name, number, element)
            if field_type.endswith(("*", "{}")):
                field.label = _Field.LABEL_REPEATED
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in _MESSAGES
    }


def _add_field(message, name, number, element):
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if element in _SCALARS:
        field.type = _SCALARS[element]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".tfvae.serving.{element}"
    return field


_classes = _message_classes()
TensorShapeProto = _classes["TensorShapeProto"]
TensorInfo = _classes["TensorInfo"]
TensorProto = _classes["TensorProto"]
PredictRequest = _classes["PredictRequest"]
PredictResponse = _classes["PredictResponse"]
SignatureDefMap = _classes["SignatureDefMap"]
GetModelMetadataRequest = _classes["GetModelMetadataRequest"]
GetModelMetadataResponse = _classes["GetModelMetadataResponse"]
PredictionLog = _classes["PredictionLog"]
