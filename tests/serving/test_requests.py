import numpy as np
import pytest
from command_line import assert_refused, tfvae
from PIL import Image

from tfvae.common.errors import InputError
from tfvae.figures import image_grid
from tfvae.serving.client import Client
from tfvae.serving.requests import read_array, write_answer


@pytest.fixture(scope="module")
def answer():
    generator = np.random.default_rng(0)
    return {
        "images": generator.integers(0, 2, (4, 6, 5, 1)).astype(np.float32),
        "latents": generator.normal(size=(4, 2)).astype(np.float32),
    }


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


def test_answers_are_written(answer, tmp_path):
    path = write_answer(answer, tmp_path / "new" / "samples.npz")
    with np.load(path) as archive:
        for name, array in answer.items():
            np.testing.assert_array_equal(archive[name], array)
    with pytest.raises(InputError, match=r"must be a \.npz or \.png file"):
        write_answer(answer, tmp_path / "samples.txt")
    with pytest.raises(InputError, match="mean cannot be drawn"):
        write_answer({"mean": answer["latents"]}, tmp_path / "mean.png")
    with pytest.raises(InputError, match=r"cannot be written in .*: Not a directory"):
        write_answer(answer, path / "samples.npz")


def test_images_are_drawn_as_a_grid(answer, tmp_path):
    with Image.open(write_answer(answer, tmp_path / "grid.png")) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * 6 + 1, 2 * 5 + 1)
    np.testing.assert_array_equal(pixels[:6, :5], 255 * answer["images"][0, ..., 0])


def test_the_command_asks_and_writes(service, tmp_path):
    output = tmp_path / "grid.png"
    arguments = ("request", "sample", "--seed", 1, 2, 3, "--output", output)
    done = tfvae(*arguments, "--port", service.port)
    assert done.status == 0, done.stderr
    with Client("127.0.0.1", service.port, model="digits") as client:
        expected = image_grid(client.sample([1, 2, 3]).images)
    np.testing.assert_array_equal(np.asarray(Image.open(output)), expected[..., 0])
    assert_refused(tfvae(*arguments), "exists: choose another")
    done = tfvae(*arguments, "--port", 1, "--overwrite")
    assert_refused(done, "no server answers", status=1)
