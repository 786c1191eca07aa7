"""A client of TensorFlow Serving, without TensorFlow."""

import contextlib
import json
from typing import Any, NamedTuple, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike

from tfvae.common.checks import check_choice, check_integer, check_number
from tfvae.common.errors import InputError
from tfvae.common.images import check_image_array
from tfvae.serving import messages

_SERVICE = "tensorflow.serving.PredictionService"

# Every answer is a function of its request, so that repeating one does no harm. Only a server that
# is not there, or not yet, is asked again, and within the deadline of the call.
_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_CONFIG = {"methodConfig": [{"name": [{"service": _SERVICE}], "retryPolicy": _RETRY_POLICY}]}
_OPTIONS = [
    ("grpc.service_config", json.dumps(_CONFIG)),
    # A batch of large images is larger than gRPC's own bound of 4 MB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class ServerError(RuntimeError):
    """The server could not be asked, or did not answer as it should.

    Its message says which server, what happened and what to do.
    """


class Posterior(NamedTuple):
    """The mean and the standard deviation of q(Z|x), each `[batch, latent_dim]`."""

    mean: np.ndarray
    stddev: np.ndarray


class Samples(NamedTuple):
    """New images of 0 and 1, the probability of each pixel being 1, and the decoded latents."""

    images: np.ndarray
    probabilities: np.ndarray
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


# The inputs and the outputs of each signature.
_SIGNATURES = {
    "encode": (("images",), Posterior._fields),
    "decode": (("latents",), ("probabilities",)),
    "reconstruct": (("images",), ("probabilities",)),
    "sample": (("seed",), Samples._fields),
    "score": (("images", "seed"), Scores._fields),
}


class Client:
    """Asks a model that TensorFlow Serving serves, over gRPC.

    Everything that can be wrong with a request is found before it is sent; for that, the client
    asks the server once what its model takes. It may be used from several threads. Answers are
    float32. Impossible arguments raise `InputError`, and so does what the model does not take,
    before anything is sent; a server that does not answer as it should raises `ServerError`.

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
        if not isinstance(host, str) or not host or "://" in host:
            raise InputError(f"host must be a name or name:port, without a scheme; got {host!r}")
        if not isinstance(model, str) or not model:
            raise InputError(f"model must be the name of a served model; got {model!r}")
        if version is not None and version_label is not None:
            raise InputError("give a version or a version label, not both")
        if version is not None:
            version = check_integer("version", version, minimum=0)
        self.address = host if ":" in host else f"{host}:{port}"
        self.model = model
        self.version = version
        self.version_label = version_label
        self.timeout = check_number("timeout", timeout, above=0)
        self.max_batch_size = check_integer("max_batch_size", max_batch_size, minimum=1)
        if credentials is None:
            self._channel = grpc.insecure_channel(self.address, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(self.address, credentials, _OPTIONS)
        self._served_inputs: dict[str, Any] | None = None

    def encode(self, images: ArrayLike) -> Posterior:
        """The approximate posterior q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1]; where the model was
                exported for int8 images, 0s and 1s of any type.
        """
        return Posterior(**self.request("encode", images=images))

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """The probabilities `[batch, height, width, channels]` of each pixel being 1.

        Args:
            latents: `[batch, latent_dim]`, finite.
        """
        return self.request("decode", latents=latents)["probabilities"]

    def reconstruct(self, images: ArrayLike) -> np.ndarray:
        """The probabilities that are decoded from the mean of q(Z|x); takes images as `encode`."""
        return self.request("reconstruct", images=images)["probabilities"]

    def sample(self, seed: ArrayLike) -> Samples:
        """New images, one per seed, the same for the same seed.

        Args:
            seed: `[batch]`, integers.
        """
        return Samples(**self.request("sample", seed=seed))

    def score(self, images: ArrayLike, seed: ArrayLike | None = None) -> Scores:
        """How likely images are under the model, in nats per image.

        Args:
            images: As in `encode`.
            seed: `[batch]`, integers: where the noise of each image's estimates comes from;
                0, 1, 2, ... if None.
        """
        return Scores(**self.request("score", images=images, seed=seed))

    def request(self, signature: str, **inputs: ArrayLike | None) -> dict[str, np.ndarray]:
        """Asks one signature by its name, and returns its outputs by their names.

        Args:
            signature: `"encode"`, `"decode"`, `"reconstruct"`, `"sample"` or `"score"`.
            **inputs: Those of `images`, `latents` and `seed` that the method of this name takes;
                None counts as not given.
        """
        check_choice("signature", signature, _SIGNATURES)
        input_names, output_names = _SIGNATURES[signature]
        inputs = {name: value for name, value in inputs.items() if value is not None}
        required = set(input_names) - ({"seed"} if signature == "score" else set())
        if not required <= set(inputs) <= set(input_names):
            taken, given = " and ".join(input_names), " and ".join(inputs)
            raise InputError(f"{signature} takes {taken}; got {given or 'nothing'}")
        arrays = self._arrays(signature, input_names, inputs)
        answers = []
        for first in range(0, max(len(arrays[input_names[0]]), 1), self.max_batch_size):
            part = {name: x[first : first + self.max_batch_size] for name, x in arrays.items()}
            answers.append(self._predict(signature, part, output_names))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in output_names}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _arrays(self, signature, names, inputs):
        """The inputs of a request, checked, as the served model takes them."""
        # Another thread may forget them meanwhile.
        served = self._served_inputs
        if served is None:
            served = self._served_inputs = self._ask_for_inputs()
        arrays = {}
        for name in names:
            if name not in served.get(signature, {}):
                raise ServerError(
                    f"the model {self.model!r} at {self.address} has no signature {signature!r} "
                    f"with an input {name!r}; it has {', '.join(sorted(served)) or 'none'}. Is it "
                    "one that `tfvae export` wrote?"
                )
            dtype, shape = served[signature][name]
            if name == "images":
                binary = dtype.kind == "i"
                array = check_image_array(inputs[name], shape, floating=not binary, binary=binary)
            elif name == "latents":
                array = _check_latents(inputs[name], shape)
            else:
                count = len(arrays["images"]) if "images" in arrays else None
                array = _check_seed(inputs.get(name, range(count or 0)), count)
            arrays[name] = array.astype(dtype)
        return arrays

    def _ask_for_inputs(self):
        """The dtype of each input and its shape without the batch, by signature and name."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call("GetModelMetadata", request, messages.GetModelMetadataResponse)
        definitions = b"".join(entry.value.value for entry in response.metadata)
        served = {}
        for signature in messages.SignatureDefMap.FromString(definitions).signature_def:
            if signature.key.startswith("__"):
                continue
            served[signature.key] = {}
            for entry in signature.value.inputs:
                # Not of a model of ours, where it is no tensor of ours or has no batch.
                with contextlib.suppress(ValueError):
                    dtype, (_, *shape) = messages.dtype_and_shape(entry.value)
                    served[signature.key][entry.key] = dtype, tuple(shape)
        return served

    def _predict(self, signature, arrays, output_names):
        request = messages.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in arrays.items():
            request.inputs.add(key=name, value=messages.tensor_of(array))
        response = self._call("Predict", request, messages.PredictResponse)
        outputs = {entry.key: entry.value for entry in response.outputs}
        try:
            return {name: messages.array_of(outputs[name]) for name in output_names}
        except (KeyError, ValueError) as error:
            raise ServerError(
                f"the signature {signature!r} of the model {self.model!r} at {self.address} gave "
                f"{', '.join(outputs) or 'nothing'} where {', '.join(output_names)} were expected "
                f"({error}); is it one that `tfvae export` wrote?"
            ) from error

    def _call(self, name, request, response_class):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.version_label is not None:
            request.model_spec.version_label = self.version_label
        method = self._channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            # Another version may be served by now, with other shapes.
            self._served_inputs = None
            raise ServerError(self._explanation(error.code(), error.details())) from error

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
            "UNIMPLEMENTED": f"{server} does not speak TensorFlow Serving's gRPC: is this another "
            "service?",
        }
        explanation = explanations.get(code.name, f"{server} could not answer for {model}")
        return f"{explanation} ({code.name}: {details})"


def _check_latents(latents, shape):
    try:
        latents = np.asarray(latents)
        given = f"{latents.dtype} of shape {list(latents.shape)}"
    except ValueError as error:
        latents, given = np.asarray(None), str(error)
    is_number = latents.dtype.kind in "iuf"
    if not is_number or latents.shape[1:] != shape or not np.isfinite(latents).all():
        sizes = ", ".join(map(str, ("batch", *shape)))
        raise InputError(f"latents must be finite numbers of shape [{sizes}]; got {given}")
    return latents


def _check_seed(seed, count):
    try:
        numbers = [check_integer("seed", number, minimum=-(2**63)) for number in seed]
    except (TypeError, InputError) as error:
        raise InputError(
            "seed must be a sequence of integers from -2**63 to 2**63 - 1, one per image; "
            f"got {seed!r:.80}"
        ) from error
    if count is not None and len(numbers) != count:
        raise InputError(f"{count} images need {count} seeds, one per image; got {len(numbers)}")
    return np.asarray(numbers, np.int64)
