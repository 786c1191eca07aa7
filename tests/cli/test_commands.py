import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from tfvae import __version__, cli, load_pretrained
from tfvae.common.errors import InputError
from tfvae.training import job as training
from tfvae.training import publishing, recipes
from tfvae.training.settings import TrainingSettings

COMMANDS = (
    "train",
    "recipes",
    "evaluate",
    "sample",
    "encode",
    "plot",
    "export",
    "publish",
    "request",
    "tune",
)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def tfvae(*arguments):
    """Runs the command in this process, which has TensorFlow loaded already."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["tfvae", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    return Done(exit_.value.code or 0, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def run(digits_data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    numbers = folder.parent / "numbers.json"
    arguments = (
        *("train", "--data-dir", digits_data_dir, "--output", folder, "--json", numbers),
        *("--epochs", 2, "--latent-dim", 2, "--num-importance-samples", 10, "--batch-size", 200),
        "--tensorboard",
    )
    # In a process of its own, to see all that users see.
    done = subprocess.run(
        [sys.executable, "-c", "from tfvae.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, numbers, done


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_imports_no_tensorflow(command):
    code = (
        "import sys; from typer.testing import CliRunner; from tfvae import cli\n"
        f"result = CliRunner().invoke(cli.app, [*{command!r}, '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'Usage' in result.output\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_versions():
    output = CliRunner().invoke(cli.app, ["--version"]).output
    assert f"tfvae {__version__}\n" in output
    for package in ("tensorflow", "keras", "tensorflow-probability"):
        assert f"{package} {version(package)}\n" in output


def test_recipes_are_listed_with_the_published_numbers():
    output = CliRunner().invoke(cli.app, ["recipes"]).output
    for name in recipes.names():
        recipe = recipes.load(name)
        assert f"{name}: " in output
        assert f"{recipe.paper.negative_log_likelihood:.2f} ({recipe.paper.estimator}" in output
        assert recipe.paper.table in output
        for result in recipe.ours:
            assert f"{result.negative_log_likelihood:.2f} ± {result.standard_error:.2f} " in output
            count = result.num_importance_samples or recipe.num_importance_samples
            minutes = round(result.seconds / 60)
            cores = f" on {result.num_cores} cores" if result.num_cores > 1 else ""
            again = result.as_published
            published = f", {again:.2f} from as many as the published" if again else ""
            how = f"seed {result.seed}, {minutes} min{cores}, {count:,} samples{published}"
            assert f"({how})" in output


def test_a_recipe_is_trained_with_what_goes_over_it(digits_data_dir, tmp_path):
    done = tfvae(
        *("train", "--recipe", "pythae-vae-two-layers", "--dataset", "digits"),
        *("--data-dir", digits_data_dir),
        *(
            "--binarization",
            "dynamic",
            "--hidden",
            16,
            "--epochs",
            1,
            "--num-importance-samples",
            5,
        ),
        *("--split", "validation", "--output", tmp_path / "run", "--warmup-epochs", 0),
        *("--weight-decay", "none"),
    )
    assert done.returncode == 0, done.stderr
    assert "On the 180 images of digits's validation split" in done.stdout
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    expected = TrainingSettings.merged(recipe="pythae-vae-two-layers")
    assert (settings["recipe"], settings["latent_dim"]) == (expected.recipe, 40)
    assert (settings["hidden"], settings["dataset"], settings["epochs"]) == ([16], "digits", 1)
    assert settings["learning_rate"] == expected.learning_rate
    assert (settings["weight_decay"], expected.weight_decay) == (None, 0.02)
    done = tfvae("publish", tmp_path / "run", tmp_path / "saved_models" / "mine")
    assert done.returncode == 0, done.stderr
    assert f"Card     {tmp_path}/saved_models/mine/card/README.md" in done.stdout
    assert (tmp_path / "saved_models" / "mine" / "model.keras").is_file()


# None is that of the settings at first.
OTHER_SETTINGS = {
    "recipe": "pythae-vae",
    "dataset": "mnist",
    "data_dir": "/data",
    "binarization": "fixed",
    "num_validation_images": 200,
    "network": "conv",
    "latent_dim": 3,
    "hidden": (20, 10),
    "filters": (4, 5),
    "blocks": 3,
    "batch_normalization": True,
    "activation": "tanh",
    "decoder_bias": "data_mean",
    "initial_model": "mnist-vae",
    "precision": "mixed_bfloat16",
    "objective": "iwae",
    "num_samples": 5,
    "num_resampled": 2,
    "gradient_estimator": "doubly_reparameterized",
    "beta": 0.5,
    "warmup_epochs": 4,
    "free_bits": 0.25,
    "learning_rate": 0.003,
    "learning_rate_schedule": "piecewise",
    "gradient_clipping": 2.5,
    "weight_decay": 0.02,
    "average_weights": 0.99,
    "strategy": "one_device",
    "batch_size": 50,
    "epochs": 6,
    "patience": 7,
    "seed": 8,
}
NEEDED = {
    "filters": {"network": "resnet"},
    "blocks": {"network": "resnet"},
    "batch_normalization": {"network": "resnet"},
    "num_resampled": {"objective": "iwae", "num_samples": 5},
    "gradient_estimator": {"objective": "iwae"},
}


@pytest.mark.parametrize("name", TrainingSettings.__annotations__)
def test_every_setting_is_an_option_of_train(name, monkeypatch):
    given = NEEDED.get(name, {}) | {name: OTHER_SETTINGS[name]}
    expected = TrainingSettings.merged(**given)
    assert getattr(expected, name) != getattr(TrainingSettings(), name)
    reached = []
    commands = SimpleNamespace(train=lambda settings, *args, **kwargs: reached.append(settings))
    monkeypatch.setattr(cli.train, "start", lambda strategy: commands)
    # The command that a card gives has all but what is of the machine.
    words = shlex.split(publishing.command_of(expected, expected.num_importance_samples))
    if name in ("data_dir", "strategy"):
        words += [f"--{name.replace('_', '-')}", given[name]]
    result = CliRunner().invoke(cli.app, words[1:])
    assert result.exit_code == 0, result.output
    assert reached == [expected]


def test_train_prints_the_numbers_and_where_things_lie(run):
    folder, numbers, done = run
    assert json.loads(numbers.read_text()) == json.loads((folder / "results.json").read_text())
    assert done.returncode == 0
    for text in (
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


def test_evaluate_repeats_the_numbers_of_train(run, tmp_path):
    folder, numbers, _ = run
    done = tfvae(
        "evaluate", folder, "--num-importance-samples", 10, "--json", tmp_path / "again.json"
    )
    assert done.returncode == 0, done.stderr
    expected, found = (json.loads(file.read_text()) for file in (numbers, tmp_path / "again.json"))
    for name in ("elbo", "reconstruction", "kl", "log_likelihood", "posterior_gap"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    assert f"{expected['elbo']:.2f}" in done.stdout


def test_evaluate_takes_as_many_samples_as_the_recipe(run, tmp_path, monkeypatch):
    folder, *_ = run
    taken = []

    def evaluate(vae, settings, *, split, num_importance_samples):
        taken.append(num_importance_samples)
        raise InputError("enough")

    monkeypatch.setattr(training, "evaluate", evaluate)
    tfvae("evaluate", folder)
    shutil.copytree(folder, tmp_path / "run")
    settings = TrainingSettings.of_run(folder / "settings.json", recipe="burda2015-vae")
    (tmp_path / "run" / "settings.json").write_text(settings.to_json())
    tfvae("evaluate", tmp_path / "run")
    tfvae("evaluate", tmp_path / "run", "--num-importance-samples", 7)
    assert taken == [500, 5000, 7]


def test_a_pretrained_model_is_known_by_its_name(tmp_path):
    done = tfvae("sample", "digits", "--seed", 1, "--output", tmp_path / "a.npy")
    assert done.returncode == 0, done.stderr
    expected = load_pretrained("digits").sample(64, seed=1)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


def test_sample_writes_pictures_and_arrays(run, tmp_path):
    folder, *_ = run
    done = tfvae("sample", folder, "--count", 6, "--seed", 1, "--output", tmp_path / "grid.png")
    assert done.returncode == 0, done.stderr
    assert PIL.Image.open(tmp_path / "grid.png").size[0] > 28
    for name in ("one.npy", "two.npy"):
        done = tfvae("sample", folder / "model.keras", "--seed", 1, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    one, two = np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy")
    assert one.shape == (64, 28, 28, 1)
    assert set(np.unique(one)) == {0.0, 1.0}
    np.testing.assert_array_equal(one, two)


def test_encode_writes_means_stddevs_and_labels(run, tmp_path):
    folder, *_ = run
    done = tfvae("encode", folder, "--split", "validation", "--output", tmp_path / "z.npz")
    assert done.returncode == 0, done.stderr
    arrays = np.load(tmp_path / "z.npz")
    assert arrays["mean"].shape == arrays["stddev"].shape == (180, 2)
    assert (arrays["stddev"] > 0).all()
    assert sorted(set(arrays["label"])) == list(range(10))


def test_plot_draws_the_figures_again(run, tmp_path):
    folder, *_ = run
    done = tfvae("plot", folder, "--output", tmp_path / "figures")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {path.name for path in folder.glob("*.png")}
    assert all(PIL.Image.open(tmp_path / "figures" / name).size[0] > 400 for name in names)


def test_export_numbers_versions(run, tmp_path):
    folder, *_ = run
    versions = [tfvae("export", folder, tmp_path / "digits").stdout.strip() for _ in range(2)]
    assert versions == [str(tmp_path / "digits" / number) for number in ("1", "2")]


def test_wrong_input_is_one_line_and_2(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, numbers, _ = run
    broken = tmp_path / "broken.keras"
    broken.write_bytes((folder / "model.keras").read_bytes()[:1000])
    (tmp_path / "settings.toml").write_text("latent_dims = 3")
    for arguments, message in (
        (("train", "--dataset", "no_such_data"), "no_such_data"),
        (("train", "--recipe", "burda-vae"), "did you mean burda2015-vae?"),
        (("publish", tmp_path, tmp_path / "model"), "there is no finished run"),
        (("train", "--output", folder), "is not empty, and nothing is overwritten"),
        (("train", "--latent-dim", 0), "latent_dim must be an integer from 1 to 100,000; got 0"),
        (("train", "--config", tmp_path / "settings.toml"), "did you mean latent_dim?"),
        (("train", "--num-importance-samples", 0), "num_importance_samples"),
        (("train", "--split", "tset"), "tset"),
        (("train", "--json", numbers), "exists, and is not overwritten"),
        (("evaluate", broken, "--dataset", "digits"), "is not a .keras file, or was cut off"),
        (("evaluate", broken), "nothing says which images"),
        (("evaluate", tmp_path / "none.keras"), "there is no model"),
        (("sample", "digit"), "did you mean digits?"),
        (("evaluate", folder, "--split", "tset"), "tset"),
        (("sample", folder, "--output", tmp_path / "a.jpeg"), "must be a .png or .npy file"),
        (("sample", folder, "--count", 0, "--output", tmp_path / "a.png"), "count must be"),
        (("sample", folder, "--seed", -1, "--output", tmp_path / "a.png"), "seed must be"),
        (("encode", folder, "--output", tmp_path), "must be a .npz file"),
        (("plot", folder, "--output", folder), "is not empty: choose another --output"),
        (("export", folder, broken), "broken.keras"),
    ):
        done = tfvae(*arguments)
        assert done.returncode == 2, (arguments, done)
        assert message in done.stderr, (arguments, done.stderr)
        assert done.stderr.startswith("tfvae: "), (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, (arguments, done.stderr)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_wrong_usage_is_2_without_traceback():
    for arguments in (["train", "--epochs", "many"], ["train", "--network", "rnn"], ["fly"]):
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_interrupted_training_keeps_the_best_weights(digits_data_dir, tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from tfvae.cli import main; main()", "train"),
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
