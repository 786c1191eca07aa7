"""A client of TensorFlow Serving, without TensorFlow."""

import json
from typing import NamedTuple, Self

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import ArrayLike

from tfvae.common.checks import check_choice, check_integer, check_number
from tfvae.common.errors import InputError
from tfvae.serving import messages
from tfvae.serving.signature_checks import (
    SIGNATURES,
    Signature,
    check_request,
    read_answer,
    read_signatures,
)

_SERVICE = "tensorflow.serving.PredictionService"

# Every answer is a function of its request, so that repeating one does no harm. Only a server that
# is not there, or not yet, or has no thread left, is asked again, within the deadline of the call.
_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
_CONFIG = {"methodConfig": [{"name": [{"service": _SERVICE}], "retryPolicy": _RETRY_POLICY}]}

# Bytes. Larger batches are sent in several requests, and a larger answer is not read.
_LARGEST_MESSAGE = 2**28


class ServerError(RuntimeError):
    """The server could not be asked, or did not answer as it should.

    Its message says which server, what happened and what to do.
    """


class Posterior(NamedTuple):
    """The mean and the standard deviation of q(Z|x), each `[batch, latent_dim]`."""

    mean: np.ndarray
    stddev: np.ndarray


class Samples(NamedTuple):
    """New images, their mean E[X|z] (of 0s and 1s, the probability of a 1), and their latents z."""

    images: np.ndarray
    mean: np.ndarray
    latents: np.ndarray


class Scores(NamedTuple):
    """How likely images are, each `[batch]`, in nats per image.

    The ELBO is reconstruction - kl, which are estimates of E_q[log p(x|z)] and the exact
    KL(q(Z|x) || p(Z)); the log-likelihood log p(x) is estimated from importance weights.
    """

    elbo: np.ndarray
    log_likelihood: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray


class Client:
    """Asks a model that TensorFlow Serving serves, over gRPC.

    Everything that can be wrong with a request is found before it is sent; for that, the client
    asks the server once what its model takes. It may be used from several threads. Answers are
    float32, finite, and of as many rows as the request; one without rows is not sent. Impossible
    arguments raise `InputError`, and so does what the model does not take, before anything is sent;
    a server that does not answer as it should raises `ServerError`.

    Args:
        host: `"name"` or `"name:port"`.
        port: The server's gRPC port, where `host` names none.
        model: The name under which the model is served.
        version: Its version; the server's latest if None.
        version_label: A label in place of a version, such as `"stable"`.
        timeout: How long each request may take, in seconds, retries included.
        max_batch_size: Larger batches are sent in several requests.
        credentials: For a server behind TLS, such as `grpc.ssl_channel_credentials()`.

    Example:
        >>> with Client("localhost", model="digits") as client:
        ...     samples = client.sample([1, 2, 3])
        >>> samples.images.shape
        (3, 28, 28, 1)
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8500,
        *,
        model: str = "digits",
        version: int | None = None,
        version_label: str | None = None,
        timeout: float = 10.0,
        max_batch_size: int = 1000,
        credentials: grpc.ChannelCredentials | None = None,
    ):
        if not _is_name(host) or "://" in host:
            raise InputError(f"host must be a name or name:port, without a scheme; got {host!r}")
        port = check_integer("port", port, minimum=1, maximum=65_535)
        if not _is_name(model):
            raise InputError(f"model must be the name of a served model; got {model!r}")
        if version is not None and version_label is not None:
            raise InputError("give a version or a version label, not both")
        if version is not None:
            version = check_integer("version", version, minimum=0)
        if not (version_label is None or _is_name(version_label)):
            raise InputError(f"version_label must be a label of a version; got {version_label!r}")
        if not (credentials is None or isinstance(credentials, grpc.ChannelCredentials)):
            raise InputError(f"credentials must be those of gRPC; got {type(credentials).__name__}")
        self.address = host if ":" in host else f"{host}:{port}"
        self.model = model
        self.version = version
        self.version_label = version_label
        self.timeout = check_number("timeout", timeout, above=0)
        self.max_batch_size = check_integer("max_batch_size", max_batch_size, minimum=1)
        options = [
            ("grpc.service_config", json.dumps(_CONFIG)),
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.max_send_message_length", -1),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(self.address, options)
        else:
            self._channel = grpc.secure_channel(self.address, credentials, options)
        self._served: dict[str, Signature] | None = None

    def encode(self, images: ArrayLike) -> Posterior:
        """The approximate posterior q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1]; where the model was
                exported for int8 images, 0s and 1s of any type.
        """
        return Posterior(*self.request("encode", images=images).values())

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """E[X|z], `[batch, height, width, channels]`: of 0s and 1s, the probabilities of a 1.

        Args:
            latents: `[batch, latent_dim]`, finite.
        """
        return next(iter(self.request("decode", latents=latents).values()))

    def reconstruct(self, images: ArrayLike) -> np.ndarray:
        """E[X|z] as of `decode`, at the mean z of q(Z|x); takes images as `encode`."""
        return next(iter(self.request("reconstruct", images=images).values()))

    def sample(self, seed: ArrayLike) -> Samples:
        """New images, one per seed, the same for the same seed.

        Args:
            seed: `[batch]`, integers.
        """
        return Samples(*self.request("sample", seed=seed).values())

    def score(self, images: ArrayLike, seed: ArrayLike | None = None) -> Scores:
        """How likely images are under the model, in nats per image.

        Args:
            images: As in `encode`, but 0s and 1s where the likelihood is a Bernoulli.
            seed: `[batch]`, integers: where the noise of each image's estimates comes from;
                0, 1, 2, ... if None.
        """
        return Scores(*self.request("score", images=images, seed=seed).values())

    def request(self, signature: str, **inputs: ArrayLike | None) -> dict[str, np.ndarray]:
        """Asks one signature by its name, and returns its outputs by their names.

        Args:
            signature: `"encode"`, `"decode"`, `"reconstruct"`, `"sample"` or `"score"`.
            **inputs: Those of `images`, `latents` and `seed` that the method of this name takes;
                None counts as not given.
        """
        check_choice("signature", signature, SIGNATURES)
        names = list(SIGNATURES[signature][0])
        inputs = {name: value for name, value in inputs.items() if value is not None}
        required = set(names) - ({"seed"} if signature == "score" else set())
        if not required <= set(inputs) <= set(names):
            taken, given = " and ".join(names), " and ".join(inputs)
            raise InputError(f"{signature} takes {taken}; got {given or 'nothing'}")
        # Another thread may forget it meanwhile.
        served = self._served
        if served is None:
            served = self._served = self._ask_for_signatures()
        if signature not in served:
            raise self._error(f"has no signature {signature!r}")
        is_bernoulli = "decode" in served and "probabilities" in served["decode"].outputs
        arrays = check_request(
            served[signature], inputs, binary=signature == "score" and is_bernoulli
        )
        return self._predict_in_parts(signature, served[signature], arrays)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_for_signatures(self):
        """The signatures that the model has in common with those of `tfvae export`."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call("GetModelMetadata", request, messages.GetModelMetadataResponse)
        definitions = b"".join(entry.value.value for entry in response.metadata)
        return read_signatures(self._parse(messages.SignatureDefMap, definitions))

    def _predict_in_parts(self, name, signature, arrays):
        # Something is left for names and shapes.
        num_rows = (_LARGEST_MESSAGE - 2**16) // signature.bytes_per_row
        if not num_rows:
            raise self._error(f"has rows of {signature.bytes_per_row:,} bytes: too many for one")
        num_rows = min(num_rows, self.max_batch_size)
        # A server keeps a request without rows until another one comes, so that none is sent.
        answers = [{key: np.empty((0, *x.shape), x.dtype) for key, x in signature.outputs.items()}]
        for first in range(0, len(next(iter(arrays.values()))), num_rows):
            part = {key: array[first : first + num_rows] for key, array in arrays.items()}
            answers.append(self._predict(name, signature, part))
        return {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}

    def _predict(self, name, signature, arrays):
        request = messages.PredictRequest()
        request.model_spec.signature_name = name
        for key, array in arrays.items():
            request.inputs.add(key=key, value=messages.tensor_of(array))
        response = self._call("Predict", request, messages.PredictResponse)
        try:
            return read_answer(response, signature, len(next(iter(arrays.values()))))
        except ValueError as error:
            raise self._error(f"answers {name!r} wrongly: {error}") from error

    def _call(self, name, request, response_class):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.version_label is not None:
            request.model_spec.version_label = self.version_label
        method = self._channel.unary_unary(
            f"/{_SERVICE}/{name}", request_serializer=type(request).SerializeToString
        )
        try:
            answer = method(request, timeout=self.timeout)
        except ValueError as error:
            raise InputError("the client is closed: make a new one") from error
        except grpc.RpcError as error:
            # Another version may be served by now, with other shapes.
            self._served = None
            raise ServerError(self._explanation(error.code(), error.details())) from error
        return self._parse(response_class, answer)

    def _parse(self, message_class, data):
        try:
            return message_class.FromString(data)
        except DecodeError as error:
            raise self._error("gives what is no answer of TensorFlow Serving") from error

    def _error(self, what):
        self._served = None
        model = f"the model {self.model!r} at {self.address}"
        return ServerError(f"{model} {what}. Is it one that `tfvae export` wrote?")

    def _explanation(self, code, details):
        server, model = f"the server at {self.address}", f"a model named {self.model!r}"
        if self.version is not None:
            model = f"version {self.version} of the model {self.model!r}"
        elif self.version_label is not None:
            model = f"a version labeled {self.version_label!r} of the model {self.model!r}"
        explanations = {
            "UNAVAILABLE": f"no server answers at {self.address}: is it running, and is this its "
            "gRPC port?",
            "DEADLINE_EXCEEDED": f"{server} did not answer within {self.timeout:g} s: give a "
            "longer timeout or a smaller batch",
            "NOT_FOUND": f"{server} does not serve {model}: look at its models.config",
            "RESOURCE_EXHAUSTED": f"{server} has not enough threads for all requests, or an answer "
            "is too large: start it with more --grpc_max_threads, or ask for less at a time",
            "UNIMPLEMENTED": f"{server} does not speak TensorFlow Serving's gRPC: is this another "
            "service?",
        }
        explanation = explanations.get(code.name, f"{server} could not answer for {model}")
        # Whoever the server is, what it says moves no cursor.
        details = "".join(x if x.isprintable() else " " for x in f"{details}"[:300])
        return f"{explanation} ({code.name}: {details})"


def _is_name(value):
    """Whether it is text that can be sent and printed: no surrogates, no control characters."""
    return isinstance(value, str) and value != "" and value.isprintable()
