import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from model_server import in_threads, serve, serve_for_real
from tensorflow_serving.apis import prediction_service_pb2_grpc

import tfvae
from tfvae.common.errors import InputError
from tfvae.serving.client import Client, ServerError


@pytest.fixture
def client(service):
    with Client("127.0.0.1", service.port, model="digits", timeout=30.0) as client:
        yield client
    service.delay, service.failures, service.compact = 0.0, [], False


@pytest.fixture(scope="module", params=["the test server", "TensorFlow Serving"])
def any_port(request, model_folder):
    """Of the server in these tests, and of the real one where there is one."""
    if request.param == "the test server":
        yield request.getfixturevalue("service").port
    else:
        with serve_for_real(model_folder.parent) as port:
            yield port


@pytest.fixture
def any_client(any_port):
    with Client("127.0.0.1", any_port, model="digits", timeout=30.0) as client:
        yield client


def test_warm_up_requests_are_answered_before_others(service):
    images, dim = (28, 28, 1), 5
    expected = [
        request
        for size in (1, 3)
        for request in (
            ("serving_default", {"images": (size, *images)}),
            ("encode", {"images": (size, *images)}),
            ("decode", {"latents": (size, dim)}),
            ("reconstruct", {"images": (size, *images)}),
            ("sample", {"seed": (size,)}),
            ("score", {"images": (size, *images), "seed": (size,)}),
        )
    ]
    assert service.warmed_up == expected


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_answers_are_those_of_the_model(any_client, vae, make_images, count):
    images = make_images(count)
    posterior = any_client.encode(images)
    expected = vae.encode(images)
    np.testing.assert_allclose(posterior.mean, expected.mean(), atol=1e-6)
    np.testing.assert_allclose(posterior.stddev, expected.stddev(), atol=1e-6)
    np.testing.assert_allclose(any_client.reconstruct(images), vae(images), atol=1e-6)
    probabilities = vae.decode(posterior.mean).mean()
    np.testing.assert_allclose(any_client.decode(posterior.mean), probabilities, atol=1e-6)

    samples = any_client.sample(range(count))
    assert samples.images.shape == images.shape
    probabilities = vae.decode(samples.latents).mean()
    np.testing.assert_allclose(samples.mean, probabilities, atol=1e-6)
    scores = any_client.score(images)
    assert scores.log_likelihood.shape == (count,)
    np.testing.assert_allclose(scores.elbo, scores.reconstruction - scores.kl, rtol=1e-6)


def test_answers_as_bytes_are_read_as_those_as_values(client, service):
    values = client.sample([1, 2])
    service.compact = True
    for as_bytes, as_values in zip(client.sample([1, 2]), values, strict=True):
        np.testing.assert_array_equal(as_bytes, as_values)


def test_large_batches_are_sent_in_parts(client, service, make_images):
    images, seeds = make_images(20), np.arange(20) * 7
    whole = client.score(images, seeds)
    before = len(service.requests)
    with Client("127.0.0.1", service.port, model="digits", max_batch_size=6) as in_parts:
        parts = in_parts.score(images, seeds)
    sizes = [
        request.inputs["seed"].tensor_shape.dim[0].size for request in service.requests[before:]
    ]
    assert sizes == [6, 6, 6, 2]
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


LATENTS_EXPECTED = r"latents must be finite numbers of shape \[batch, 5\]; got"
WRONG_LATENTS = [np.zeros((2, 4)), np.zeros(5), 1.0, [["a"] * 5], [[np.nan] * 5], [[1.0], [1, 2]]]
WRONG_SEEDS = [3, [1.5], ["1"], [2**63], [[1], [2]], [None], [True]]


def test_wrong_requests_are_refused_before_they_are_sent(client, service, make_images):
    images = make_images(2)
    client.encode(images)
    sent = len(service.requests)
    for request, message in [
        (lambda: client.encode(images[..., 0]), "add a channel axis"),
        (lambda: client.reconstruct(images * 255), "divide by 255"),
        (lambda: client.score(images * np.nan), "remove NaN"),
        (lambda: client.encode(images.astype(int)), "cast to float32"),
        (lambda: client.score(images, [1]), "2 images need 2 seeds, one per image; got 1"),
        *((lambda x=x: client.decode(x), LATENTS_EXPECTED) for x in WRONG_LATENTS),
        *(
            (lambda x=x: client.sample(x), "seed must be a sequence of integers")
            for x in WRONG_SEEDS
        ),
    ]:
        with pytest.raises(InputError, match=message):
            request()
    assert len(service.requests) == sent
    client.encode(images)


def test_seeds_are_sent_as_int64(client, service):
    for seed in (range(3), [-(2**63), 2**63 - 1], np.arange(3, dtype=np.uint8)):
        client.sample(seed)
        sent = tf.make_ndarray(service.requests[-1].inputs["seed"])
        assert sent.dtype == np.int64
        assert sent.tolist() == list(seed)


def test_every_signature_can_be_asked_by_name(client, make_images):
    images = make_images(3)
    samples = client.request("sample", seed=[1, 2, 3], images=None)
    assert list(samples) == ["images", "probabilities", "latents"]
    posterior = client.request("encode", images=images)
    assert list(posterior) == ["mean", "stddev"]
    decoded = client.request("decode", latents=posterior["mean"])
    reconstructed = client.request("reconstruct", images=images)
    np.testing.assert_allclose(decoded["probabilities"], reconstructed["probabilities"], atol=1e-6)
    scores = client.request("score", images=images)
    seeded = client.request("score", images=images, seed=range(3))
    np.testing.assert_allclose(scores["elbo"], seeded["elbo"], rtol=1e-6)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("dream", {}, "signature must be one of encode, decode, .*; got 'dream'"),
        ("sample", {}, "sample takes seed; got nothing"),
        ("score", {"seed": [1]}, "score takes images and seed; got seed"),
        ("encode", {"images": [], "seed": [1]}, "encode takes images; got images and seed"),
    ],
)
def test_requests_by_name_are_refused(client, signature, inputs, message):
    with pytest.raises(InputError, match=message):
        client.request(signature, **inputs)


def test_an_unknown_model_or_version(any_port):
    for arguments, message in [
        ({"model": "faces"}, "does not serve a model named 'faces': look at its models.config"),
        ({"model": "digits", "version": 9}, "version 9 of the model 'digits'"),
    ]:
        with (
            Client("127.0.0.1", any_port, **arguments) as other,
            pytest.raises(ServerError, match=message),
        ):
            other.sample([1])
    with Client("127.0.0.1", any_port, model="digits", version=1) as other:
        assert other.sample([1]).images.shape == (1, 28, 28, 1)


def test_version_labels(service):
    with (
        Client("127.0.0.1", service.port, model="digits", version_label="canary") as other,
        pytest.raises(ServerError, match="labeled 'canary' of the model 'digits'"),
    ):
        other.sample([1])
    for arguments in ({"version": 1}, {"version_label": "stable"}):
        with Client("127.0.0.1", service.port, model="digits", **arguments) as other:
            assert other.sample([1]).images.shape == (1, 28, 28, 1)


def test_a_server_of_another_model(tmp_path_factory, make_images):
    """Neither `tfvae export`'s signatures, nor images at all."""

    class Doubling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="number")])
        def double(self, number):
            return {"twice": 2.0 * number}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="seed")])
        def sample(self, seed):
            return {"images": tf.cast(seed, tf.float32)}

    module = Doubling()
    path = tmp_path_factory.mktemp("other") / "1"
    served = {"serving_default": module.double, "sample": module.sample}
    tf.saved_model.save(module, str(path), signatures=served)
    with (
        serve("other", path) as service,
        Client("127.0.0.1", service.port, model="other") as client,
    ):
        for ask in (lambda: client.encode(make_images(1)), lambda: client.sample([1])):
            with pytest.raises(ServerError, match=r"no signature .* Is it one that `tfvae export`"):
                ask()


def test_another_shape_is_noticed(color_version, make_images):
    with (
        serve("m", color_version) as service,
        Client("127.0.0.1", service.port, model="m") as client,
    ):
        with pytest.raises(InputError, match=r"of shape \[batch, 5, 3, 3\]; got float32 of shape"):
            client.encode(make_images(2))
        assert client.sample([5]).images.shape == (1, 5, 3, 3)


def test_int8_images_are_sent_as_int8(vae, int8_version, make_images):
    images = make_images(3)
    with (
        serve("m", int8_version) as service,
        Client("127.0.0.1", service.port, model="m") as client,
    ):
        for given in (images, images > 0, images.astype(np.uint8), images.astype(np.float64)):
            mean = client.encode(given).mean
            np.testing.assert_allclose(mean, vae.encode(images).mean(), atol=1e-6)
            assert len(service.requests[-1].inputs["images"].tensor_content) == 3 * 28 * 28
        for given, message in (
            (images * 0.5, "images must be 0s and 1s of shape .* binarize the"),
            (images * 255, "divide by 255"),
            (np.full_like(images, np.inf), "remove NaN and infinity"),
        ):
            with pytest.raises(InputError, match=message):
                client.encode(given)


def test_a_slow_server_is_not_waited_for(client, service):
    client.sample([1])
    service.delay = 2.0
    with Client("127.0.0.1", service.port, model="digits", timeout=0.5) as impatient:
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"did not answer within 0.5 s"):
            impatient.sample([1])
        assert time.monotonic() - start < 1.9
    service.delay = 0.0
    assert client.sample([1]).images.shape == (1, 28, 28, 1)


def test_a_server_that_is_down_and_one_that_comes_back(version, vae, service):
    with (
        Client("127.0.0.1:1", model="digits", timeout=5.0) as nobody,
        pytest.raises(ServerError, match=r"no server answers at 127\.0\.0\.1:1: is it running"),
    ):
        nobody.sample([1])
    with serve("digits", version) as first:
        port = first.port
        client = Client("127.0.0.1", port, model="digits")
        expected = client.sample([3])
    with pytest.raises(ServerError, match="no server answers"):
        client.sample([3])
    with serve("digits", version, port=port):
        deadline = time.monotonic() + 30.0
        while True:
            try:
                np.testing.assert_array_equal(client.sample([3]).images, expected.images)
                break
            except ServerError:
                assert time.monotonic() < deadline
        client.close()


@pytest.mark.parametrize("status", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_what_may_be_retried_is(client, service, status):
    client.sample([1])
    before = len(service.requests)
    service.failures = [grpc.StatusCode[status]] * 2
    assert client.sample([1]).images.shape == (1, 28, 28, 1)
    assert len(service.requests) == before + 3
    service.failures = [grpc.StatusCode.INTERNAL]
    with pytest.raises(ServerError, match=r"could not answer .* \(INTERNAL: injected\)"):
        client.sample([1])
    assert len(service.requests) == before + 4


def test_more_requests_than_threads_are_all_answered(version):
    """TensorFlow Serving sends away whoever finds no thread; the client comes again."""
    with (
        serve("digits", version, num_threads=2) as service,
        Client("127.0.0.1", service.port, timeout=30.0) as client,
        grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        expected = client.sample([3]).images
        service.delay = 0.05
        request = service.requests[-1]
        once = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

        def ask_once(_):
            try:
                return once(request, timeout=30.0)
            except grpc.RpcError as error:
                return error.code()

        assert grpc.StatusCode.RESOURCE_EXHAUSTED in in_threads(6, ask_once)
        for images in in_threads(6, lambda _: client.sample([3]).images):
            np.testing.assert_array_equal(images, expected)


def test_an_empty_batch_is_answered_without_the_server(client, service):
    client.sample([1])
    before = len(service.requests)
    posterior = client.encode(np.zeros((0, 28, 28, 1)))
    assert posterior.mean.shape == posterior.stddev.shape == (0, 5)
    assert client.decode(np.zeros((0, 5))).shape == (0, 28, 28, 1)
    samples = client.sample([])
    assert [x.shape for x in samples] == [(0, 28, 28, 1), (0, 28, 28, 1), (0, 5)]
    assert all(x.dtype == np.float32 for x in samples)
    assert client.score(np.zeros((0, 28, 28, 1))).elbo.shape == (0,)
    assert len(service.requests) == before


def test_gray_images_have_no_score(client, make_images):
    gray = make_images(2) * np.float32(0.5)
    assert np.isfinite(client.encode(gray).mean).all()
    with pytest.raises(InputError, match=r"images must be 0s and 1s .* binarize"):
        client.score(gray)


def test_a_closed_client_says_so(service):
    client = Client("127.0.0.1", service.port)
    client.sample([1])
    client.close()
    client.close()
    with pytest.raises(InputError, match="the client is closed: make a new one"):
        client.sample([1])


def test_what_speaks_something_else():
    from concurrent import futures

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with (
        Client("127.0.0.1", port) as client,
        pytest.raises(ServerError, match="does not speak TensorFlow Serving's gRPC"),
    ):
        client.sample([1])
    server.stop(grace=None).wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": "http://localhost"}, "host must be a name or name:port, without a scheme"),
        ({"host": ""}, "host must be"),
        ({"model": ""}, "model must be the name of a served model"),
        ({"version": 1, "version_label": "stable"}, "not both"),
        ({"version": -1}, "version must be"),
        ({"version": True}, "version must be an integer"),
        ({"version": 2**63}, "version must be"),
        ({"version_label": ""}, "version_label must be"),
        ({"version_label": 1}, "version_label must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": None}, "timeout must be"),
        ({"timeout": True}, "timeout must be"),
        ({"port": 0}, "port must be"),
        ({"port": True}, "port must be"),
        ({"credentials": "secret"}, "credentials must be those of gRPC; got str"),
        *(
            ({name: f"a{character}b"}, f"{name} must be")
            for name in ("host", "model", "version_label")
            for character in ("\ud800", "\0", "\n", "\x1b")
        ),
        ({"max_batch_size": 0}, "max_batch_size must be"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message) as refused:
        Client(**arguments)
    assert str(refused.value).isprintable()


def test_32_threads_share_a_client(any_client, make_images):
    client, images = any_client, make_images(32)
    expected = client.score(images, np.arange(32))
    samples = client.sample(np.arange(32))

    def ask(index):
        rows = slice(index, index + 1)
        score = client.score(images[rows], [index])
        sample = client.sample([index])
        return score.log_likelihood[0], sample.images[0]

    for _ in range(3):
        answers = in_threads(32, ask)
        np.testing.assert_allclose(
            [score for score, _ in answers], expected.log_likelihood, rtol=1e-6
        )
        np.testing.assert_array_equal([image for _, image in answers], samples.images)


def memory_growth(client, service, images, count):
    """Bytes by which client and server, both in this process, grow over so many requests."""
    process = psutil.Process()
    resident = []
    for number in range(count):
        if number % 5 == 0:
            client.score(images[: 1 + number % 3])
        elif number % 5 == 1:
            client.encode(images[: 1 + number % 3])
        else:
            client.sample(range(1 + number % 7))
        # What the test server keeps for the tests.
        service.requests.clear()
        if number % (count // 10) == 0:
            resident.append(process.memory_info().rss)
    # The first requests fill caches and pools.
    return resident[-1] - resident[3]


def test_memory_does_not_grow_with_requests(client, service, make_images):
    assert memory_growth(client, service, make_images(4), 500) < 20e6


@pytest.mark.slow
def test_memory_does_not_grow_with_10_000_requests(client, service, make_images):
    assert memory_growth(client, service, make_images(4), 10_000) < 20e6


WITHOUT_TENSORFLOW = """
import sys
import numpy as np
from tfvae.serving import Client
client = Client(sys.argv[1], model="digits")
samples = client.sample([1, 2, 3])
client.encode(samples.images)
client.score(samples.images)
assert samples.images.shape == (3, 28, 28, 1)
heavy = {"tensorflow", "keras", "tf_keras", "tensorflow_probability"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_client_imports_no_tensorflow(service):
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, f"127.0.0.1:{service.port}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(tfvae.__file__).parents[1],
    )
    assert result.returncode == 0, result.stderr
