import numpy as np
import pytest

import tfvae
from tfvae.common.errors import InputError
from tfvae.training import pretrained, runs


def test_models_are_loaded_by_their_names():
    assert "digits" in tfvae.training.pretrained.names()
    vae = tfvae.load_pretrained("digits")
    assert vae.image_shape == (28, 28, 1)
    folder = pretrained.folder_of("digits")
    other = runs.load_vae(folder)
    images = vae.sample(3, seed=0)
    np.testing.assert_array_equal(vae.predict(images), other.predict(images))
    assert (folder / "card" / "README.md").is_file()


def test_models_are_compiled_when_they_are_loaded():
    images = np.zeros((4, 28, 28, 1), "float32")
    for vae in (tfvae.load_pretrained("digits"), tfvae.load_model("digits")):
        assert set(vae.evaluate(images, return_dict=True, verbose=0)) >= {"loss", "elbo"}


def test_models_of_your_own_are_loaded_by_their_path(tiny_run):
    for path in (tiny_run.folder, tiny_run.folder / runs.MODEL):
        assert type(tfvae.load_model(path).objective) is tfvae.objectives.ELBO
    with pytest.raises(InputError, match="there is no model 'nosuch'"):
        tfvae.load_model("nosuch")


def test_an_installed_package_has_them_inside(monkeypatch, tmp_path):
    inside = tmp_path / "tfvae" / "saved_models" / "mine"
    inside.mkdir(parents=True)
    tfvae.load_pretrained("digits").save(inside / runs.MODEL)
    monkeypatch.setattr(pretrained, "SHIPPED_MODELS", inside.parent)
    assert pretrained.names() == ["mine"]
    assert pretrained.folder_of("mine") == inside
    assert tfvae.load_pretrained("mine").latent_dim == 32


def test_other_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no pretrained model 'cifar' .*: known are .*digits"):
        tfvae.load_pretrained("cifar")
    with pytest.raises(InputError, match=r"'mnist_vae' .*: did you mean mnist-vae\?$"):
        tfvae.load_pretrained("mnist_vae")
    with pytest.raises(InputError, match="no pretrained model None"):
        tfvae.load_pretrained(None)
    # A path is a name to nobody but the command line.
    with pytest.raises(InputError, match="no pretrained model '/"):
        tfvae.load_pretrained(str(pretrained.folder_of("digits")))


def test_the_command_line_takes_names_beside_paths(tmp_path, monkeypatch):
    assert pretrained.find_model("digits") == pretrained.folder_of("digits")
    with pytest.raises(InputError, match=r"no model 'digit': give .* did you mean digits\?$"):
        pretrained.find_model("digit")
    # What lies here is what is meant.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert pretrained.find_model("digits").resolve() == tmp_path / "digits"
