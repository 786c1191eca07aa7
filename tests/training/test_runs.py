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
    assert runs.new_folder(tmp_path / "old", "digits") == tmp_path / "old"
    (tmp_path / "old" / "model.keras").write_text("precious")
    with pytest.raises(InputError, match="is not empty: choose another, or remove it"):
        runs.new_folder(tmp_path / "old", "digits")
    assert (tmp_path / "old" / "model.keras").read_text() == "precious"


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"must be a folder; there is a file"):
        runs.new_folder(tmp_path / "file", "digits")


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
    for damaged in (b"epoch,loss\n1\n", b"epoch,loss\n1,\xff\n", b"a\n\0\n", b"a,b\n" + bytes(9)):
        (tmp_path / runs.HISTORY).write_bytes(damaged)
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


def listing(folder):
    """All that lies below a folder, with what is in it."""
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def begin_and_fail(folder, resumed=None, *, backup=False):
    """Opens the folder of a run, begins it there, and fails."""
    settings = TrainingSettings(epochs=5)
    with runs.folder_of_run(None if resumed else folder, resumed, settings, is_chief=True) as run:
        runs.begin(run, settings)
        (run / runs.TENSORBOARD).mkdir(exist_ok=True)
        (run / runs.BACKUP).mkdir(exist_ok=True)
        if backup:
            (run / runs.BACKUP / "epoch-000001").mkdir()
        raise OSError("no room")


def test_a_new_run_that_learned_nothing_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="no room") as error:
        begin_and_fail(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not hasattr(error.value, "__notes__")


def test_a_run_that_learned_something_stays_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="no room") as error:
        begin_and_fail(folder, backup=True)
    assert error.value.__notes__ == [f"`tfvae train --resume {folder}` goes on"]
    assert {runs.RUN, runs.SETTINGS, runs.BACKUP} <= listing(folder).keys()


@pytest.mark.parametrize("backup", [True, False])
def test_a_resume_that_fails_takes_nothing_away(backup, tmp_path):
    for name in (".git", ".ipynb_checkpoints", runs.BACKUP, runs.TENSORBOARD):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("stays")
    runs.begin(tmp_path, TrainingSettings(epochs=5))
    half = tmp_path / ".model.keras.abcd1234.tfvae"
    half.mkdir()
    before = listing(tmp_path)
    del before[half.name]
    with pytest.raises(OSError, match="no room"):
        begin_and_fail(None, tmp_path, backup=backup)
    after = listing(tmp_path)
    after.pop(f"{runs.BACKUP}/epoch-000001", None)
    assert after == before


def test_what_is_no_unfinished_run_is_not_resumed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    settings = TrainingSettings(epochs=5, latent_dim=7)

    def refused(settings=settings):
        before = listing(folder)
        with pytest.raises(InputError) as error:
            runs.check_resumable(folder, settings)
        assert listing(folder) == before
        return str(error.value)

    # As a published or a tuned model has it.
    (folder / runs.SETTINGS).write_text(settings.to_json())
    (folder / runs.MODEL).write_text("precious")
    assert "there is no training run in" in refused()
    runs.begin(folder, settings)
    assert runs.check_resumable(folder, settings) is None
    assert "latent_dim is 7 there and 8 here" in refused(settings.replace(latent_dim=8))
    # A run may have other devices and another evaluation, and more epochs.
    others = settings.replace(strategy="mirrored", split="train", epochs=6)
    assert runs.check_resumable(folder, others) is None
    assert "epochs is 5 there and 4 here" in refused(settings.replace(epochs=4))
    # What it is made of is not changed behind its back.
    whole = (folder / runs.SETTINGS).read_text()
    (folder / runs.SETTINGS).write_text(whole.replace('"seed": 0', '"seed": 1'))
    assert "settings.json is not what the run has written" in refused()
    (folder / runs.SETTINGS).write_text(whole)
    runs.end(folder)
    assert "has ended: there is nothing to resume" in refused()
    assert "has ended" in refused(others)
    (folder / runs.BACKUP).mkdir()
    assert runs.check_resumable(folder, others) is None
    for text in ("", "{}", "[]", '{"has_ended": false, "settings": 3}', "\0"):
        (folder / runs.RUN).write_text(text)
        assert "run.json is damaged" in refused()


def test_settings_of_before_are_known_until_the_new_ones_are_there(tmp_path, monkeypatch):
    """Killed between the two files, a run whose epochs were raised can still be resumed."""
    settings = TrainingSettings(epochs=5)
    runs.begin(tmp_path, settings)

    def killed(file, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        runs.begin(tmp_path, settings.replace(epochs=6))
    assert runs.check_resumable(tmp_path, settings) is None


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    settings = TrainingSettings(epochs=5)
    folder = tmp_path / "run"
    with runs.folder_of_run(folder, None, settings, is_chief=True):
        runs.begin(folder, settings)
        for path, resumed in ((folder, None), (None, folder)):
            with (
                pytest.raises(InputError, match=r"another process trains|is not empty"),
                runs.folder_of_run(path, resumed, settings, is_chief=True),
            ):
                pytest.fail("another process trains here")
    with runs.folder_of_run(None, folder, settings, is_chief=True):
        pass


@pytest.mark.parametrize("name", [*runs.NAMES, "samples.png", ".", "backup/x", "./settings.json"])
def test_the_numbers_do_not_go_where_the_run_has_a_file(name, tmp_path):
    folder = tmp_path / "run"
    settings = TrainingSettings()
    with (
        pytest.raises(InputError, match="is a place of the run's own"),
        runs.folder_of_run(folder, None, settings, is_chief=True, json=folder / name),
    ):
        pytest.fail("it would be overwritten")
    assert not folder.exists()
    for json in (folder / "numbers.json", tmp_path / "model.keras"):
        with runs.folder_of_run(folder, None, settings, is_chief=True, json=json):
            pass
