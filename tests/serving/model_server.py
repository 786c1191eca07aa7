"""A server that speaks TensorFlow Serving's gRPC over an exported graph, for tests.

The messages are the official ones, the graph is loaded and run as TensorFlow Serving does it:
through the session loader, with the status codes and the words of the real server. It has as many
threads as it is given, and sends away whoever asks beyond them; a request without rows waits for
ever. It does not put requests together, so that a wrong one does not fail right ones, it has one
version and one label, and it reads no configuration.
"""

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from concurrent import futures

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tfvae.serving import configuration


class LoadedVersion:
    """A SavedModel in a session, as TensorFlow Serving has it."""

    def __init__(self, path):
        self.graph = tf.Graph()
        self.session = tf.compat.v1.Session(graph=self.graph)
        with self.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(path))
        self.signatures = meta_graph.signature_def

    def run(self, signature_name, inputs):
        signature = self.signatures[signature_name or "serving_default"]
        return self.session.run(
            {name: info.name for name, info in signature.outputs.items()},
            {signature.inputs[name].name: value for name, value in inputs.items()},
        )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model, version, path):
        self.model, self.version = model, version
        self.loaded = LoadedVersion(path)
        self.delay = 0.0
        self.requests = []
        self.compact = False
        self.failures = []
        self._warm_up(path)

    def _warm_up(self, path):
        """As TensorFlow Serving does: a version whose warm-up fails is not served."""
        self.warmed_up = []
        file = path / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset([str(file)] if file.exists() else []):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            assert log.WhichOneof("log_type") == "predict_log"
            request = log.predict_log.request
            self._run(request)
            shapes = {name: tf.make_ndarray(x).shape for name, x in request.inputs.items()}
            self.warmed_up.append((request.model_spec.signature_name, shapes))

    def _run(self, request):
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        return self.loaded.run(request.model_spec.signature_name, inputs)

    def _check_spec(self, spec, context):
        version = spec.version.value if spec.HasField("version") else self.version
        known_label = spec.version_label in ("", "stable")
        if spec.name != self.model or version != self.version or not known_label:
            wanted = f"Specific({spec.name}, {version})"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")

    def Predict(self, request, context):  # noqa: N802 - a method of the .proto service
        self.requests.append(request)
        if self.failures:
            context.abort(self.failures.pop(0), "injected")
        self._check_spec(request.model_spec, context)
        time.sleep(self.delay)
        if any(
            x.tensor_shape.dim and x.tensor_shape.dim[0].size == 0 for x in request.inputs.values()
        ):
            while context.is_active():
                time.sleep(0.01)
        signature = self.loaded.signatures.get(request.model_spec.signature_name)
        if signature is None or set(signature.inputs) != set(request.inputs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input names do not match")
        try:
            outputs = self._run(request)
        except (ValueError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:200])
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, value in outputs.items():
            tensor = tf.make_tensor_proto(value)
            if not self.compact:
                # The real server writes values, not bytes.
                del tensor.float_val[:]
                tensor.float_val.extend(value.ravel().tolist())
                tensor.ClearField("tensor_content")
            response.outputs[name].CopyFrom(tensor)
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802 - of the .proto service
        self._check_spec(request.model_spec, context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self.loaded.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(signatures)
        return response


@contextlib.contextmanager
def serve(model, path, port=0, num_threads=256):
    """Serves a version; gives the service and its port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(num_threads),
        maximum_concurrent_rpcs=num_threads,
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    service = PredictionService(model, int(path.name), path)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    service.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield service
    finally:
        server.stop(grace=None).wait()


@contextlib.contextmanager
def serve_for_real(folder):
    """TensorFlow Serving itself on the models of a folder; gives its gRPC port.

    Skips where there is neither a `tensorflow_model_server` nor a Docker engine with its image.
    """
    ports = _free_port(), _free_port()
    configuration.write_server_configuration(folder)
    arguments = ["--enable_batching=true", "--grpc_max_threads=256"]
    arguments += ["--model_config_file={0}/models.config"]
    arguments += ["--batching_parameters_file={0}/batching.config"]
    arguments += ["--monitoring_config_file={0}/monitoring.config"]
    if shutil.which("tensorflow_model_server"):
        config = folder / "models.config"
        config.write_text(config.read_text().replace("/models/", f"{folder}/"))
        command = ["tensorflow_model_server", f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
        arguments = [argument.format(folder) for argument in arguments]
        stop = None
    elif _docker_has_the_image():
        name = f"tfvae-test-{ports[0]}"
        command = ["docker", "run", "--rm", f"--name={name}", f"--publish={ports[0]}:8500"]
        command += [f"--volume={folder}:/models:ro", IMAGE]
        arguments = [argument.format("/models") for argument in arguments]
        stop = ["docker", "stop", name]
    else:
        pytest.skip("no tensorflow_model_server on the PATH, and no Docker engine with its image")
    with subprocess.Popen([*command, *arguments]) as process:
        try:
            channel = grpc.insecure_channel(f"127.0.0.1:{ports[0]}")
            grpc.channel_ready_future(channel).result(timeout=120)
            yield ports[0]
        finally:
            if stop:
                subprocess.run(stop, check=False)
            process.terminate()


IMAGE = "tensorflow/serving"


def _docker_has_the_image():
    if not shutil.which("docker"):
        return False
    inspect = ["docker", "image", "inspect", IMAGE]
    return subprocess.run(inspect, capture_output=True, check=False).returncode == 0


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def in_threads(count, function):
    """The results of `function(0)` to `function(count - 1)`, all started together."""
    barrier = threading.Barrier(count)

    def started_together(index):
        barrier.wait()
        return function(index)

    with futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(started_together, range(count)))
