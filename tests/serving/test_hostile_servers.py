"""Servers that answer with what no model gives: each answer ends in one line, or is right."""

import contextlib
import random
from concurrent import futures

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from google.protobuf import any_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from tfvae.common.errors import InputError
from tfvae.serving import client as client_module
from tfvae.serving.client import Client, ServerError

IMAGES, LATENTS, VECTOR = (-1, 4, 3, 1), (-1, 2), (-1,)
SCORES = dict.fromkeys(("elbo", "log_likelihood", "reconstruction", "kl"), VECTOR)
SIGNATURES = {
    "encode": ({"images": IMAGES}, {"mean": LATENTS, "stddev": LATENTS}),
    "decode": ({"latents": LATENTS}, {"probabilities": IMAGES}),
    "reconstruct": ({"images": IMAGES}, {"probabilities": IMAGES}),
    "sample": ({"seed": VECTOR}, {"images": IMAGES, "probabilities": IMAGES, "latents": LATENTS}),
    "score": ({"images": IMAGES, "seed": VECTOR}, SCORES),
}
TWO_IMAGES = np.zeros((2, 4, 3, 1), np.float32)


def describe(tensors):
    infos = {}
    for name, shape in tensors.items():
        dtype = tf.int64 if name == "seed" else tf.float32
        sizes = tf.TensorShape([None if size == -1 else size for size in shape]).as_proto()
        infos[name] = meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum, tensor_shape=sizes)
    return infos


def metadata(signatures=SIGNATURES):
    """What a server says that it serves."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, (inputs, outputs) in signatures.items():
        signature = meta_graph_pb2.SignatureDef(inputs=describe(inputs), outputs=describe(outputs))
        definitions.signature_def[name].CopyFrom(signature)
    packed = any_pb2.Any()
    packed.Pack(definitions)
    response = get_model_metadata_pb2.GetModelMetadataResponse(metadata={"signature_def": packed})
    return response.SerializeToString()


def answer(**outputs):
    """What a server answers: arrays, or tensors as they are on the wire."""
    response = predict_pb2.PredictResponse()
    for name, output in outputs.items():
        is_array = isinstance(output, np.ndarray)
        response.outputs[name].CopyFrom(tf.make_tensor_proto(output) if is_array else output)
    return response.SerializeToString()


def floats(*shape, value=0.5):
    return np.full(shape, value, np.float32)


def claiming(*shape, values=(0.5,)):
    """A tensor that claims a shape and brings a few values."""
    tensor = tf.make_tensor_proto(0.0)
    tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    tensor.float_val[:] = values
    return tensor


RIGHT = {
    "encode": {"mean": floats(2, 2), "stddev": floats(2, 2)},
    "decode": {"probabilities": floats(2, 4, 3, 1)},
    "sample": {
        "images": floats(2, 4, 3, 1, value=1),
        "probabilities": floats(2, 4, 3, 1),
        "latents": floats(2, 2),
    },
    "score": {name: floats(2) for name in SCORES},
}


@pytest.fixture(scope="module")
def replies():
    """What the server says: bytes by method, or a function that ends the call."""
    replies = {"GetModelMetadata": metadata()}

    def handler(name):
        def reply(request, context):
            return replies[name](context) if callable(replies[name]) else replies[name]

        return grpc.unary_unary_rpc_method_handler(reply)

    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)]
    )
    names = ("GetModelMetadata", "Predict")
    service = "tensorflow.serving.PredictionService"
    handlers = grpc.method_handlers_generic_handler(
        service, {name: handler(name) for name in names}
    )
    server.add_generic_rpc_handlers((handlers,))
    replies["port"] = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield replies
    server.stop(grace=None).wait()


@pytest.fixture
def client(replies):
    replies["GetModelMetadata"] = metadata()
    with Client("127.0.0.1", replies["port"]) as client:
        yield client


def ask(client, signature):
    return {
        "encode": lambda: client.encode(TWO_IMAGES),
        "decode": lambda: client.decode(np.zeros((2, 2))),
        "reconstruct": lambda: client.reconstruct(TWO_IMAGES),
        "sample": lambda: client.sample([1, 2]),
        "score": lambda: client.score(TWO_IMAGES),
    }[signature]()


def assert_refused(client, signature, message=""):
    """Checks that there is one line, of what can be printed."""
    with pytest.raises(ServerError, match=message) as refused:
        ask(client, signature)
    text = str(refused.value)
    assert text.isprintable(), text
    assert len(text) < 1000
    return text


@pytest.mark.parametrize("signature", RIGHT)
def test_right_answers_are_taken(client, replies, signature):
    replies["Predict"] = answer(**RIGHT[signature])
    taken = ask(client, signature)
    taken = [taken] if signature == "decode" else taken
    for given, output in zip(RIGHT[signature].values(), taken, strict=True):
        np.testing.assert_array_equal(output, given)


WRONG = [
    ("encode", "mean", floats(7, 2), r"mean is not float32 of shape \[2, 2\]"),
    ("encode", "mean", floats(2, 3), "mean is not float32"),
    ("encode", "mean", floats(4), "mean is not float32"),
    ("encode", "mean", floats(), "mean is not float32"),
    ("encode", "mean", np.full((2, 2), 0.5), "mean is not float32"),
    ("encode", "mean", np.full((2, 2), b"text"), "mean is not float32"),
    ("encode", "mean", floats(2, 2, value=np.nan), "mean is not finite"),
    ("encode", "stddev", floats(2, 2, value=-0.1), "stddev is not positive"),
    ("encode", "stddev", floats(2, 2, value=0.0), "stddev is not positive"),
    ("encode", "stddev", claiming(2, 2, values=()), "stddev is not float32"),
    ("encode", "stddev", claiming(2, 2, values=[1.0] * 5), "stddev is not float32"),
    ("encode", "stddev", claiming(10**6, 10**6), "stddev is not float32"),
    ("decode", "probabilities", floats(2, 4, 3, 1, value=7.0), r"probabilities is not in \[0, 1\]"),
    ("decode", "probabilities", floats(2, 4, 3, 1, value=-1e-6), "probabilities is not in"),
    ("decode", "probabilities", floats(1, 4, 3, 1), "probabilities is not float32"),
    ("sample", "images", floats(2, 4, 3, 1), "images has other values than 0 and 1"),
    ("sample", "latents", floats(2, 2, value=np.inf), "latents is not finite"),
    ("score", "elbo", floats(2, 1), "elbo is not float32"),
    ("score", "kl", floats(3), "kl is not float32"),
]


@pytest.mark.parametrize(("signature", "name", "output", "message"), WRONG)
def test_wrong_answers_are_refused(client, replies, signature, name, output, message):
    replies["Predict"] = answer(**{**RIGHT[signature], name: output})
    assert_refused(client, signature, message)


def test_answers_without_an_output_are_refused(client, replies):
    for outputs in ({}, {"mean": floats(2, 2)}, {"MEAN": floats(2, 2), "stddev": floats(2, 2)}):
        replies["Predict"] = answer(**outputs)
        assert_refused(client, "encode", "answers 'encode' wrongly")


def test_batches_of_different_width_are_refused(replies):
    replies["GetModelMetadata"] = metadata()
    answers = [floats(1, 2), floats(1, 3)]

    def next_answer(context):
        mean = answers.pop(0)
        return answer(mean=mean, stddev=np.ones_like(mean))

    replies["Predict"] = next_answer
    with Client("127.0.0.1", replies["port"], max_batch_size=1) as client:
        assert_refused(client, "encode", "mean is not float32 of shape")


def test_a_mean_of_any_range_is_that_of_another_likelihood(client, replies):
    signatures = {**SIGNATURES, "decode": ({"latents": LATENTS}, {"mean": IMAGES})}
    replies["GetModelMetadata"] = metadata(signatures)
    replies["Predict"] = answer(mean=floats(2, 4, 3, 1, value=-7.0))
    np.testing.assert_array_equal(ask(client, "decode"), floats(2, 4, 3, 1, value=-7.0))
    # Only a Bernoulli likelihood is a probability of 0s and 1s alone.
    replies["Predict"] = answer(**RIGHT["score"])
    gray = TWO_IMAGES + np.float32(0.25)
    assert client.score(gray).elbo.shape == (2,)
    replies["GetModelMetadata"] = metadata()
    with (
        Client("127.0.0.1", replies["port"]) as of_bernoulli,
        pytest.raises(InputError, match=r"0s and 1s .* binarize the 24 of 24 values"),
    ):
        of_bernoulli.score(gray)


def without(signature, side, name):
    sides = [dict(tensors) for tensors in SIGNATURES[signature]]
    del sides[side][name]
    return {**SIGNATURES, signature: tuple(sides)}


def reshaped(signature, side, name, shape):
    sides = [dict(tensors) for tensors in SIGNATURES[signature]]
    sides[side][name] = shape
    return {**SIGNATURES, signature: tuple(sides)}


STRANGE_SIGNATURES = [
    {},
    without("encode", 0, "images"),
    without("encode", 1, "stddev"),
    *(
        reshaped("encode", side, name, shape)
        for side, name in ((0, "images"), (1, "mean"))
        for shape in [(), (-1,), (-1, 0, 3, 1), (-1, -1, 3, 1), (2, 4, 3, 1), (-1,) + (10**9,) * 3]
    ),
    reshaped("encode", 1, "mean", (-1, 2**62)),
    reshaped("encode", 0, "images", (-1, 2**40, 2**40, 2**40)),
]


@pytest.mark.parametrize("signatures", STRANGE_SIGNATURES)
def test_strange_signatures_are_refused(client, replies, signatures):
    replies["GetModelMetadata"] = metadata(signatures)
    replies["Predict"] = answer(**RIGHT["encode"])
    before = psutil.Process().memory_info().rss
    with contextlib.suppress(InputError):
        # The images may have another shape than such a model takes.
        assert_refused(client, "encode", "has no signature 'encode'|has rows of")
    assert psutil.Process().memory_info().rss - before < 100e6


@pytest.mark.parametrize("method", ["GetModelMetadata", "Predict"])
def test_garbage_is_refused(client, replies, method, caplog):
    generator = random.Random(0)
    whole = metadata() if method == "GetModelMetadata" else answer(**RIGHT["encode"])
    garbage = [b"\xff", b"<html>404</html>" * 9, b"\x0a\xff\xff\xff\xff\x7f"]
    garbage += [whole[: generator.randrange(len(whole))] for _ in range(30)]
    for _ in range(100):
        changed = bytearray(whole)
        for _ in range(3):
            changed[generator.randrange(len(whole))] = generator.randrange(256)
        garbage.append(bytes(changed))
    lines = []
    for data in garbage:
        replies[method] = data
        if method == "GetModelMetadata":
            client._served = None
            replies["Predict"] = answer(**RIGHT["encode"])
        try:
            posterior = ask(client, "encode")
        except (ServerError, InputError) as error:
            lines.append(str(error))
        else:
            assert posterior.mean.shape == posterior.stddev.shape == (2, 2)
            assert (posterior.stddev > 0).all()
    assert len(lines) > 30
    assert all(line.isprintable() for line in lines)
    # Nothing is logged either, to where a terminal would show it.
    assert not caplog.records


def test_an_answer_that_is_too_large_is_not_read(replies, monkeypatch):
    monkeypatch.setattr(client_module, "_LARGEST_MESSAGE", 2**20)
    replies["GetModelMetadata"] = metadata()
    replies["Predict"] = answer(**RIGHT["encode"], more=floats(2**19))
    with Client("127.0.0.1", replies["port"], timeout=30.0) as client:
        assert_refused(client, "encode", "an answer is too large")


def test_rows_too_large_for_one_message_are_sent_in_parts(replies, monkeypatch):
    sizes = []

    def reply(context):
        rows = sizes.pop()
        return answer(mean=floats(rows, 2), stddev=floats(rows, 2))

    # A row of an image is 48 bytes.
    monkeypatch.setattr(client_module, "_LARGEST_MESSAGE", 2**16 + 100)
    replies["GetModelMetadata"], replies["Predict"] = metadata(), reply
    sizes += [1, 2, 2]
    with Client("127.0.0.1", replies["port"]) as client:
        assert client.encode(np.zeros((5, 4, 3, 1), np.float32)).mean.shape == (5, 2)
    assert not sizes


def test_what_a_server_says_moves_no_cursor(client, replies):
    def abort(context):
        context.abort(
            grpc.StatusCode.INTERNAL, "\x1b[2J\x1b]0;title\x07\nnext line \u202e" + "x" * 5000
        )

    replies["Predict"] = abort
    text = assert_refused(client, "encode", "INTERNAL")
    assert "next line" in text
    assert "]0;title" in text
