import numpy as np
import pytest
from model_server import serve
from PIL import Image
from typer.testing import CliRunner

from tfvae import cli
from tfvae.common.errors import InputError
from tfvae.figures import image_grid
from tfvae.serving.client import Client
from tfvae.serving.requests import read_array, request, write_answer


@pytest.fixture(scope="module")
def client(version):
    with (
        serve("digits", version) as service,
        Client("127.0.0.1", service.port, model="digits") as client,
    ):
        yield client


def test_every_signature_can_be_asked_by_name(client, make_images):
    images = make_images(3)
    samples = request(client, "sample", seeds=[1, 2, 3], images=None)
    assert list(samples) == ["images", "probabilities", "latents"]
    posterior = request(client, "encode", images=images)
    assert list(posterior) == ["mean", "stddev"]
    decoded = request(client, "decode", latents=posterior["mean"])
    np.testing.assert_allclose(
        decoded["probabilities"],
        request(client, "reconstruct", images=images)["probabilities"],
        atol=1e-6,
    )
    scores = request(client, "score", images=images)
    np.testing.assert_allclose(
        scores["elbo"], request(client, "score", images=images, seeds=range(3))["elbo"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("dream", {}, "there is no signature 'dream': ask for one of encode, decode"),
        ("sample", {}, "sample takes seeds; got nothing"),
        ("score", {"seeds": [1]}, "score takes images and seeds; got seeds"),
        ("encode", {"images": [], "seeds": [1]}, "encode takes images; got images and seeds"),
    ],
)
def test_wrong_requests_are_refused(client, signature, inputs, message):
    with pytest.raises(InputError, match=message):
        request(client, signature, **inputs)


def test_arrays_are_read(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "array.npy", array)
    np.savez(tmp_path / "array.npz", latents=array)
    for name in ("array.npy", "array.npz"):
        np.testing.assert_array_equal(read_array(tmp_path / name), array)
    np.savez(tmp_path / "two.npz", a=array, b=array)
    with pytest.raises(InputError, match="must have one array; it has a, b"):
        read_array(tmp_path / "two.npz")
    (tmp_path / "text").write_text("images")
    for name in ("text", "missing.npy"):
        with pytest.raises(InputError, match=r"cannot be read as a \.npy or \.npz file"):
            read_array(tmp_path / name)


def test_answers_are_written(client, tmp_path):
    answer = request(client, "sample", seeds=[1, 2, 3])
    path = write_answer(answer, tmp_path / "new" / "samples.npz")
    with np.load(path) as archive:
        for name, array in answer.items():
            np.testing.assert_array_equal(archive[name], array)
    with pytest.raises(InputError, match=r"written to a \.npz or \.png file"):
        write_answer(answer, tmp_path / "samples.txt")
    with pytest.raises(InputError, match="mean cannot be drawn"):
        write_answer({"mean": answer["latents"]}, tmp_path / "mean.png")
    with pytest.raises(InputError, match="cannot be written"):
        write_answer(answer, path / "samples.npz")


def test_images_are_drawn_as_a_grid(client, tmp_path):
    pytest.importorskip("tfvae.figures.drawing")
    answer = request(client, "sample", seeds=[1, 2, 3, 4])
    with Image.open(write_answer(answer, tmp_path / "grid.png")) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * 28 + 1, 2 * 28 + 1)
    np.testing.assert_array_equal(pixels[:28, :28], 255 * answer["images"][0, ..., 0])


def test_the_command_asks_and_writes(version, tmp_path):
    output = tmp_path / "grid.png"
    with serve("digits", version) as service:
        arguments = ["request", "sample", "--port", str(service.port), "--output", str(output)]
        result = CliRunner().invoke(cli.app, [*arguments, "--seed", "1", "2", "3"])
        assert result.exit_code == 0, result.output
        with Client("127.0.0.1", service.port, model="digits") as client:
            expected = image_grid(client.sample([1, 2, 3]).images)
        again = CliRunner().invoke(cli.app, [*arguments, "--seed", "1"])
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected[..., 0])
    assert isinstance(again.exception, InputError)
    assert "exists: choose another" in str(again.exception)
    result = CliRunner().invoke(cli.app, [*arguments, "--seed", "1", "--overwrite"])
    assert result.exit_code == 1
    assert "no server answers" in result.output
