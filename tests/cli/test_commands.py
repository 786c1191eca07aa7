"""What the commands do, and what they say."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
from command_line import assert_refused, tfvae

from tfvae import load_pretrained
from tfvae.common.errors import InputError
from tfvae.training import job, runs
from tfvae.training.settings import TrainingSettings


@pytest.mark.slow
def test_a_recipe_is_trained_with_what_goes_over_it_and_published(digits_data_dir, tmp_path):
    folder, numbers = tmp_path / "run", tmp_path / "numbers.json"
    arguments = (
        *("train", "--recipe", "pythae-vae-two-layers", "--dataset", "digits"),
        *("--data-dir", digits_data_dir, "--binarization", "dynamic", "--hidden", 16),
        *("--latent-dim", 2, "--epochs", 2, "--warmup-epochs", 0, "--weight-decay", "none"),
        *("--num-importance-samples", 10, "--split", "validation", "--tensorboard"),
        *("--output", folder, "--json", numbers),
    )
    # In a process of its own, to see all that users see.
    done = subprocess.run(
        [sys.executable, "-m", "tfvae.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(numbers.read_text()) == json.loads((folder / "results.json").read_text())
    for text in (
        "On the 180 images of digits's validation split",
        "ELBO",
        "log p(x)",
        "±",
        f"Model    {folder}/model.keras",
        f"{folder}/latent_plane.png",
        f"Export   {folder}/saved_model/1",
        f"tensorboard --logdir {folder}/tensorboard",
    ):
        assert text in done.stdout
    assert any((folder / "tensorboard").rglob("events*"))
    assert "WARNING" not in done.stderr
    assert "oneDNN" not in done.stderr
    assert "epoch 2/2" in done.stderr

    recipe = TrainingSettings.merged(recipe="pythae-vae-two-layers")
    expected = recipe.replace(
        dataset="digits",
        data_dir=str(digits_data_dir),
        binarization="dynamic",
        hidden=[16],
        latent_dim=2,
        epochs=2,
        warmup_epochs=0,
        weight_decay=None,
    )
    assert TrainingSettings.of_run(folder / "settings.json") == expected

    done = tfvae("publish", folder, tmp_path / "saved_models" / "mine")
    assert done.status == 0, done.stderr
    assert f"Card     {tmp_path}/saved_models/mine/card/README.md" in done.stdout
    assert (tmp_path / "saved_models" / "mine" / "model.keras").is_file()


def test_other_settings_are_another_run(tmp_path):
    runs.begin(tmp_path, TrainingSettings(latent_dim=7, seed=3))
    done = tfvae("train", "--resume", tmp_path, "--latent-dim", 8, "--dataset", "mnist")
    assert_refused(done, "another one: dataset is 'digits' there and 'mnist' here, latent_dim is 7")
    done = tfvae("train", "--resume", tmp_path, "--output", tmp_path / "other")
    assert_refused(done, "a resumed run stays in its folder: leave --output out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [runs.RUN, runs.SETTINGS]


def test_a_resumed_run_is_evaluated_as_it_was_begun(tmp_path, monkeypatch):
    begun = TrainingSettings(latent_dim=7, split="validation", num_importance_samples=7)
    runs.begin(tmp_path, begun)
    (tmp_path / runs.BACKUP).mkdir()
    asked = []

    def train(settings, folder, **arguments):
        asked.append((settings, folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "train", train)
    for options in ((), ("--split", "test"), ("--num-importance-samples", 3)):
        assert tfvae("train", "--resume", tmp_path, *options).status == 130
    others = [begun, begun.replace(split="test"), begun.replace(num_importance_samples=3)]
    assert asked == [(settings, tmp_path) for settings in others]
    assert (tmp_path / runs.BACKUP).is_dir()


def test_evaluate_repeats_the_numbers_of_train(tiny_run, tmp_path):
    again = tmp_path / "again.json"
    done = tfvae("evaluate", tiny_run.folder, "--json", again)
    assert done.status == 0, done.stderr
    found = json.loads(again.read_text())
    for name in ("elbo", "reconstruction", "kl", "log_likelihood", "posterior_gap"):
        assert found[name] == pytest.approx(tiny_run.results[name], rel=1e-6)
    assert f"{found['elbo']:.2f}" in done.stdout
    done = tfvae("evaluate", tiny_run.folder, "--json", again)
    assert_refused(done, f"{again} exists: choose another, or give --overwrite")


def test_evaluate_takes_the_test_split_and_the_samples_of_the_training(tiny_run, monkeypatch):
    taken = []

    def evaluate(vae, settings):
        taken.append((settings.split, settings.num_importance_samples, settings.latent_dim))
        raise InputError("enough")

    monkeypatch.setattr(job, "evaluate", evaluate)
    settings = runs.settings_beside(tiny_run.folder).replace(split="validation")
    monkeypatch.setattr(runs, "settings_beside", lambda path: settings)
    for options in ((), ("--num-importance-samples", 7), ("--split", "train")):
        tfvae("evaluate", tiny_run.folder, *options)
    assert taken == [("test", 10, 2), ("test", 7, 2), ("train", 10, 2)]


def test_a_pretrained_model_is_known_by_its_name(tmp_path):
    done = tfvae("sample", "digits", "--seed", 1, "--output", tmp_path / "a.npy")
    assert done.status == 0, done.stderr
    expected = load_pretrained("digits").sample(64, seed=1)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


def test_sample_writes_pictures_and_arrays(tiny_run, tmp_path):
    model, grid = tiny_run.folder / runs.MODEL, tmp_path / "grid.png"
    done = tfvae("sample", tiny_run.folder, "--count", 6, "--mean", "--output", grid)
    assert done.status == 0, done.stderr
    with PIL.Image.open(grid) as image:
        assert image.size[0] > 28
        assert len(np.unique(image)) > 10
    for name in ("one.npy", "two.npy"):
        done = tfvae("sample", model, "--seed", 1, "--count", 6, "--output", tmp_path / name)
        assert done.status == 0, done.stderr
    one, two = np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy")
    assert one.shape == (6, 28, 28, 1)
    assert set(np.unique(one)) == {0.0, 1.0}
    np.testing.assert_array_equal(one, two)


def test_encode_writes_means_stddevs_and_labels(tiny_run, tmp_path):
    output = tmp_path / "z.npz"
    done = tfvae("encode", tiny_run.folder, "--split", "validation", "--output", output)
    assert done.status == 0, done.stderr
    arrays = np.load(output)
    assert arrays["mean"].shape == arrays["stddev"].shape == (180, 2)
    assert (arrays["stddev"] > 0).all()
    assert sorted(set(arrays["label"])) == list(range(10))


def test_plot_draws_the_figures_again(tiny_run, tmp_path):
    done = tfvae("plot", tiny_run.folder, "--output", tmp_path / "figures")
    assert done.status == 0, done.stderr
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {path.name for path in tiny_run.folder.glob("*.png")}
    assert all(PIL.Image.open(tmp_path / "figures" / name).size[0] > 400 for name in names)


def test_export_numbers_versions(tiny_run, tmp_path):
    for number in ("1", "2"):
        done = tfvae("export", tiny_run.folder, tmp_path / "digits", "--prune", 1)
        assert done.stdout.strip() == str(tmp_path / "digits" / number)
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == [".lock", "2"]


def test_wrong_input_is_one_line_and_2(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tiny_run.folder
    broken, text = tmp_path / "broken.keras", tmp_path / "text.json"
    broken.write_bytes((folder / runs.MODEL).read_bytes()[:1000])
    text.write_text("{}")
    data = ("--data-dir", TrainingSettings.of_run(folder / runs.SETTINGS).data_dir)
    for arguments, message in (
        (("train", "--dataset", "no_such_data"), "no_such_data"),
        (("train", "--dataset", "../../etc"), "../../etc"),
        (("train", "--dataset", 300 * "a"), "File name too long"),
        (("train", *data, "--num-validation-images", 10**9), "leave the setting out"),
        (("train", *data, "--initial-model", "nowhere"), "nowhere"),
        (("train", *data, "--split", "tset"), "tset"),
        (("train", *data, "--split", "test[::"), "test[::"),
        (("train", "--output", folder), "is not empty: choose another, or remove it"),
        (("train", "--output", text), "must be a folder; there is a file"),
        (("train", "--json", text), "exists: choose another, or remove it"),
        (("publish", tmp_path, tmp_path / "model"), "there is no finished run"),
        (("evaluate", broken, "--dataset", "digits"), "is not a .keras file, or was cut off"),
        (("evaluate", broken), "nothing says which images"),
        (("evaluate", tmp_path / "none.keras"), "there is no model"),
        (("sample", "digit"), "did you mean digits?"),
        (("evaluate", folder, "--split", "tset"), "tset"),
        (("sample", folder, "--output", tmp_path / "a.jpeg"), "must be a .png or .npy file"),
        (("sample", folder, "--output", 300 * "a" + ".png"), "File name too long"),
        (("encode", folder, "--output", tmp_path), "must be a .npz file"),
        (("plot", folder, "--output", folder), "is not empty: choose another, or give --overwrite"),
        (("export", folder, broken), "broken.keras"),
        (("request", "encode", "--output", text), "must be a .npz or .png file"),
        (("request", "encode", "--output", "a.npz", "--images", "b.npy"), "b.npy"),
    ):
        assert_refused(tfvae(*arguments), message)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_interrupted_training_keeps_the_best_weights(digits_data_dir, tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tfvae.cli", "train"),
            *("--data-dir", digits_data_dir, "--output", folder, "--epochs", "100000"),
            *("--patience", "100000", "--num-importance-samples", "5", "--latent-dim", "2"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "interrupted" in output
    assert f"{folder}/model.keras" in output
    assert "Traceback" not in output
    assert (folder / "model.keras").is_file()
    assert (folder / "samples.png").is_file()
