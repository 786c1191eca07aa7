import zipfile

import keras
import numpy as np
import pytest

import tfvae
from tfvae.common.errors import InputError
from tfvae.training import runs
from tfvae.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("run") / runs.MODEL
    encoder, decoder = tfvae.networks.build("mlp", (6, 5, 1), 2, hidden=(8,))
    tfvae.VAE(encoder=encoder, decoder=decoder).save(file)
    return file


def test_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(runs.new_folder(None, "emnist/letters")) for _ in range(2)]
    assert names == ["runs/emnist-letters-1", "runs/emnist-letters-2"]


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "old").mkdir()
    assert runs.new_folder(tmp_path / "old", "digits").is_dir()
    (tmp_path / "old" / "model.keras").write_text("precious")
    with pytest.raises(InputError, match="is not empty: choose another, or remove it"):
        runs.new_folder(tmp_path / "old", "digits")
    assert (tmp_path / "old" / "model.keras").read_text() == "precious"


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"must be a folder; there is a file"):
        runs.new_folder(tmp_path / "file", "digits")
    with pytest.raises(OSError, match="Not a directory"):
        runs.new_folder(tmp_path / "file" / "below", "digits")


def test_models_are_found_by_file_and_by_folder(saved):
    images = np.zeros((2, 6, 5, 1), np.float32)
    by_file, by_folder = runs.load_vae(saved), runs.load_vae(saved.parent)
    np.testing.assert_array_equal(by_file.predict(images), by_folder.predict(images))


def test_files_that_are_no_models_are_refused(saved, tmp_path):
    with pytest.raises(InputError, match="there is no model at"):
        runs.load_vae(tmp_path / "missing.keras")
    with pytest.raises(InputError, match=r"there is no model at .*model\.keras"):
        runs.load_vae(tmp_path)
    whole = saved.read_bytes()
    cut = tmp_path / "cut.keras"
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"not a \.keras file, or was cut off"):
            runs.load_vae(cut)


def test_a_damaged_model_is_refused(saved, tmp_path):
    damaged = tmp_path / "damaged.keras"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[: len(content) // 2] if name.endswith(".h5") else content)
    with pytest.raises(InputError, match="cannot be loaded as a Keras model"):
        runs.load_vae(damaged)


def test_a_model_that_is_no_vae_is_refused(tmp_path):
    file = tmp_path / "other.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(file)
    with pytest.raises(InputError, match=r"holds a Sequential, not a tfvae\.VAE"):
        runs.load_vae(file)


def test_no_code_of_a_file_is_run(tmp_path):
    images = keras.Input((6, 5, 1))
    features = keras.layers.Flatten()(images)
    features = keras.layers.Lambda(lambda x: x + 1, output_shape=(30,))(features)
    encoder = keras.Model(images, keras.layers.Dense(4)(features))
    file = tmp_path / "code.keras"
    tfvae.VAE(encoder=encoder).save(file)
    with pytest.raises(InputError, match=r"cannot be loaded as a Keras model.*ambda"):
        runs.load_vae(file)


def test_history_is_read_as_it_was_written(tmp_path):
    history = {"loss": [3.0, 2.5], "val_elbo": [-3.25, float("nan")]}
    runs.write_history(tmp_path / runs.HISTORY, history)
    read = runs.read_history(tmp_path / runs.HISTORY)
    assert read.pop("epoch") == [1, 2]
    assert read["loss"] == history["loss"]
    np.testing.assert_array_equal(read["val_elbo"], history["val_elbo"])
    (tmp_path / runs.HISTORY).write_text("epoch,loss\n1\n")
    with pytest.raises(InputError, match="is not a table of numbers"):
        runs.read_history(tmp_path / runs.HISTORY)


def test_settings_beside_a_model(saved, tmp_path):
    assert runs.settings_beside(tmp_path) is None
    settings = TrainingSettings(dataset="mnist")
    (tmp_path / runs.SETTINGS).write_text(settings.to_json())
    assert runs.settings_beside(tmp_path) == settings
    assert runs.settings_beside(tmp_path / runs.MODEL) == settings
    # A run of before its recipe had another gradient.
    (tmp_path / runs.SETTINGS).write_text('{"recipe": "burda2015-iwae", "objective": "iwae"}')
    assert runs.settings_beside(tmp_path).gradient_estimator == "reparameterized"


def test_what_a_run_that_learned_nothing_leaves_is_removed(tmp_path):
    folder = runs.new_folder(tmp_path / "run", "digits")
    (folder / runs.SETTINGS).write_text("{}")
    (folder / "mine.txt").write_text("stays")
    runs.remove_unfinished(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    runs.remove_unfinished(folder)
    assert not folder.exists()


def test_runs_that_cannot_be_resumed_are_refused(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        runs.unfinished_folder(tmp_path)
    (tmp_path / runs.SETTINGS).write_text(TrainingSettings(latent_dim=7).to_json())
    assert runs.unfinished_folder(tmp_path)[1].latent_dim == 7
    # A run of before its recipe had another gradient.
    (tmp_path / runs.SETTINGS).write_text('{"recipe": "burda2015-iwae", "objective": "iwae"}')
    assert runs.unfinished_folder(tmp_path)[1].gradient_estimator == "reparameterized"
    (tmp_path / runs.RESULTS).write_text("{}")
    with pytest.raises(InputError, match="has ended: there is nothing to resume"):
        runs.unfinished_folder(tmp_path)


def test_what_a_killed_writer_leaves_is_removed(tmp_path):
    for name in (".model.keras.abc", "backup/.epoch-000002.abc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "backup" / "epoch-000001").mkdir()
    runs.remove_half_written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert [path.name for path in (tmp_path / "backup").iterdir()] == ["epoch-000001"]
