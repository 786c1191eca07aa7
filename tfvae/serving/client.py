"""A client of TensorFlow Serving, without TensorFlow."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike

from tfvae.common.checks import check_integer
from tfvae.common.errors import InputError
from tfvae.serving import messages, tensors

_SERVICE = "tensorflow.serving.PredictionService"

# Every request is a function of its inputs, so that repeating one does no harm. Only a server that
# is not there, or not yet, is asked again, and within the deadline of the call.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": _SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class ServerError(RuntimeError):
    """The server could not be asked, or did not answer as it should.

    Its message says which server, what happened and what to do.
    """


class Posterior(NamedTuple):
    """What `encode` gives: mean and standard deviation of q(Z|x), each `[batch, latent_dim]`."""

    mean: np.ndarray
    stddev: np.ndarray


class Samples(NamedTuple):
    """What `sample` gives.

    Attributes:
        images: 0 or 1, `[batch, height, width, channels]`.
        probabilities: Of each pixel being 1, of the same shape.
        latents: They come from, `[batch, latent_dim]`.
    """

    images: np.ndarray
    probabilities: np.ndarray
    latents: np.ndarray


class Scores(NamedTuple):
    """What `score` gives; each `[batch]`, in nats per image.

    Attributes:
        elbo: The evidence lower bound, reconstruction - kl.
        log_likelihood: The importance-weighted estimate of log p(x).
        reconstruction: E_q[log p(x|z)], estimated.
        kl: KL(q(Z|x) || p(Z)).
    """

    elbo: np.ndarray
    log_likelihood: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray


class Client:
    """Asks a model that TensorFlow Serving serves, over gRPC.

    Everything that can be wrong with a request is found before it is sent; for that, the client
    asks the server once what its model takes. It may be used from several threads.

    Args:
        host: `"name"` or `"name:port"`.
        port: The server's gRPC port, where `host` names none.
        model: The name under which the model is served.
        version: Its version; the server's latest if None.
        version_label: A label in place of a version, such as `"stable"`.
        timeout: How long each request may take, in seconds, retries included.
        max_batch_size: Larger batches are sent in several requests.
        credentials: For a server behind TLS, such as `grpc.ssl_channel_credentials()`.

    Raises:
        InputError: If an argument is not possible.

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
        if not timeout > 0:
            raise InputError(f"timeout must be a number of seconds above 0; got {timeout!r}")
        self.address = host if ":" in host else f"{host}:{port}"
        self.model = model
        self.version = version
        self.version_label = version_label
        self.timeout = timeout
        self.max_batch_size = check_integer("max_batch_size", max_batch_size, minimum=1)
        options = [
            ("grpc.service_config", json.dumps(_RETRIES)),
            # A batch of large images is larger than gRPC's own bound of 4 MB.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = (
            grpc.insecure_channel(self.address, options)
            if credentials is None
            else grpc.secure_channel(self.address, credentials, options)
        )
        self._predict = self._method("Predict", messages.PredictRequest, messages.PredictResponse)
        self._get_metadata = self._method(
            "GetModelMetadata", messages.GetModelMetadataRequest, messages.GetModelMetadataResponse
        )
        self._inputs: dict[str, dict[str, tensors.TensorSpec]] | None = None

    def encode(self, images: ArrayLike) -> Posterior:
        """The approximate posterior q(Z|x).

        Args:
            images: `[batch, height, width, channels]`, floating, in [0, 1]; where the model was
                exported for int8 images, 0s and 1s of any type.

        Returns:
            Its mean and standard deviation, float32 `[batch, latent_dim]` each.

        Raises:
            InputError: If `images` are not what the model takes; nothing was sent.
            ServerError: If the server does not answer as it should.
        """
        return Posterior(**self._ask("encode", Posterior._fields, self._checked_images(images)))

    def decode(self, latents: ArrayLike) -> np.ndarray:
        """The probability of each pixel being 1.

        Args:
            latents: `[batch, latent_dim]`, finite.

        Returns:
            float32 `[batch, height, width, channels]`.

        Raises:
            InputError: If `latents` are not what the model takes; nothing was sent.
            ServerError: If the server does not answer as it should.
        """
        latents = tensors.checked_latents(latents, self._spec("decode", "latents"))
        return self._ask("decode", ("probabilities",), {"latents": latents})["probabilities"]

    def reconstruct(self, images: ArrayLike) -> np.ndarray:
        """The mean reconstructions, decoded from the mean of q(Z|x).

        Args:
            images: As in `encode`.

        Returns:
            Probabilities, float32 `[batch, height, width, channels]`.

        Raises:
            InputError: If `images` are not what the model takes; nothing was sent.
            ServerError: If the server does not answer as it should.
        """
        images = self._checked_images(images, "reconstruct")
        return self._ask("reconstruct", ("probabilities",), images)["probabilities"]

    def sample(self, seeds: ArrayLike) -> Samples:
        """New images.

        Args:
            seeds: `[batch]`, integers: one image a seed, the same for the same seed.

        Returns:
            Images, their probabilities and latents.

        Raises:
            InputError: If `seeds` are not integers; nothing was sent.
            ServerError: If the server does not answer as it should.
        """
        self._spec("sample", "seed")
        seeds = tensors.checked_seeds(seeds)
        return Samples(**self._ask("sample", Samples._fields, {"seed": seeds}))

    def score(self, images: ArrayLike, seeds: ArrayLike | None = None) -> Scores:
        """How likely images are under the model, in nats per image.

        Args:
            images: As in `encode`.
            seeds: `[batch]`, integers: of the noise in the estimates; 0, 1, 2, ... if None.

        Returns:
            The ELBO, the importance-weighted log-likelihood, and the parts of the ELBO.

        Raises:
            InputError: If the inputs are not what the model takes; nothing was sent.
            ServerError: If the server does not answer as it should.
        """
        inputs = self._checked_images(images, "score")
        count = len(inputs["images"])
        seeds = tensors.checked_seeds(range(count) if seeds is None else seeds, count)
        return Scores(**self._ask("score", Scores._fields, {**inputs, "seed": seeds}))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _method(self, name, request, response) -> Callable[..., Any]:
        return self._channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def _checked_images(self, images, signature="encode"):
        return {"images": tensors.checked_images(images, self._spec(signature, "images"))}

    def _spec(self, signature, name):
        """What the model takes, asked once."""
        # Another thread may forget them meanwhile.
        inputs = self._inputs
        if inputs is None:
            inputs = self._inputs = self._served_inputs()
        spec = inputs.get(signature, {}).get(name)
        if spec is None:
            served = ", ".join(sorted(inputs)) or "none"
            raise ServerError(
                f"the model {self.model!r} at {self.address} has no signature {signature!r} with "
                f"an input {name!r}; it has {served}. Is it one that `tfvae export` wrote?"
            )
        return spec

    def _served_inputs(self):
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call(self._get_metadata, request)
        served = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        inputs = {}
        for signature, definition in served.signature_def.items():
            if signature.startswith("__"):
                continue
            try:
                inputs[signature] = {
                    name: tensors.spec_of(info) for name, info in definition.inputs.items()
                }
            except ValueError:
                # Of another model; it is told apart where it is asked for.
                inputs[signature] = {}
        return inputs

    def _ask(self, signature, output_names, inputs):
        """Sends a batch, in several requests where it is large."""
        count = len(next(iter(inputs.values())))
        parts = [
            self._ask_once(
                signature,
                output_names,
                {name: x[start : start + self.max_batch_size] for name, x in inputs.items()},
            )
            for start in range(0, max(count, 1), self.max_batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in output_names}

    def _ask_once(self, signature, output_names, inputs):
        request = messages.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            tensors.fill_tensor(request.inputs[name], array)
        response = self._call(self._predict, request)
        try:
            # A map of messages makes what it lacks, of type 0, which no array has.
            return {name: tensors.array_of(response.outputs[name]) for name in output_names}
        except ValueError as error:
            raise ServerError(
                f"the signature {signature!r} of the model {self.model!r} at {self.address} gave "
                f"{error} where {', '.join(output_names)} were expected; is it one that "
                "`tfvae export` wrote?"
            ) from error

    def _call(self, method, request):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.version_label is not None:
            request.model_spec.version_label = self.version_label
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            # Another version may be served by now, with other shapes.
            self._inputs = None
            raise ServerError(self._explanation(error.code(), error.details())) from error

    def _explanation(self, code, details):
        match code:
            case grpc.StatusCode.UNAVAILABLE:
                return (
                    f"no server answers at {self.address}: is it running, and is this its gRPC "
                    f"port? ({details})"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return (
                    f"the server at {self.address} did not answer within {self.timeout:g} s: give "
                    "a longer timeout or a smaller batch"
                )
            case grpc.StatusCode.NOT_FOUND:
                return (
                    f"the server at {self.address} does not serve {self._name_and_version()}: "
                    f"look at its models.config ({details})"
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return (
                    f"the server at {self.address} does not speak TensorFlow Serving's gRPC: "
                    f"is this another service? ({details})"
                )
            case _:
                return (
                    f"the server at {self.address} could not answer for "
                    f"{self._name_and_version()}: {details} ({code.name})"
                )

    def _name_and_version(self):
        if self.version is not None:
            return f"version {self.version} of the model {self.model!r}"
        if self.version_label is not None:
            return f"a version labelled {self.version_label!r} of the model {self.model!r}"
        return f"a model named {self.model!r}"
