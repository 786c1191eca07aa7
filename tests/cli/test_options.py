"""What the command line understands, and how it refuses the rest."""

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from typing import get_args

import pytest
from command_line import assert_refused, tfvae

from tfvae import __version__
from tfvae.cli import app
from tfvae.training import job, publishing, recipes
from tfvae.training.settings import TrainingSettings

COMMANDS = [name for name in app if not name.startswith("-")]

# None is the default of its setting.
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
    "split": "validation",
    "num_importance_samples": 9,
}
NEEDED = {
    "filters": {"network": "resnet"},
    "blocks": {"network": "resnet"},
    "batch_normalization": {"network": "resnet"},
    "num_resampled": {"objective": "iwae", "num_samples": 5},
    "gradient_estimator": {"objective": "iwae"},
}

DEEP = 50_000 * "["
NEVER_A_NUMBER = ["x", "-1", "1e999"]
NEVER_AN_INTEGER = [*NEVER_A_NUMBER, "1.5", str(2**64)]


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """The settings with which `train` was called; nothing is trained."""
    settings = []

    def train(given, folder, **arguments):
        settings.append(given)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "train", train)
    return settings


@pytest.mark.parametrize("name", TrainingSettings.model_fields)
def test_every_setting_is_an_option_of_train(name, trained):
    given = NEEDED.get(name, {}) | {name: OTHER_SETTINGS[name]}
    expected = TrainingSettings.merged(**given)
    assert getattr(expected, name) != getattr(TrainingSettings(), name)
    # The command that a card gives has all but what is of the machine.
    words = shlex.split(publishing.command_of(expected))
    if name in ("data_dir", "strategy"):
        words += [f"--{name.replace('_', '-')}", given[name]]
    assert tfvae(*words[1:]).status == 130
    assert trained == [expected]


def test_options_go_over_the_file_and_the_file_over_the_recipe(trained, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'recipe = "kingma2016-resnet-vae"\nlatent_dim = 8\nseed = 3\nbatch_normalization = true\n'
        'average_weights = "none"'
    )
    options = ("--latent-dim", 4, "--gradient-clipping", "none", "--no-batch-normalization")
    tfvae("train", "--config", "mine.toml", *options, "--hidden", 5, "--filters", 1, 2, 3)
    assert trained == [
        TrainingSettings.merged(
            recipe="kingma2016-resnet-vae",
            latent_dim=4,
            seed=3,
            gradient_clipping=None,
            average_weights=None,
            hidden=[5],
            filters=[1, 2, 3],
        )
    ]


def test_no_option_empties_a_list():
    for command in COMMANDS:
        for argument in app[command].assemble_argument_collection():
            assert not [name for name in argument.names if "empty" in name], (command, argument)
    assert_refused(tfvae("train", "--empty-hidden"), "Unknown option: --empty-hidden")


def all_options():
    for command in COMMANDS:
        for argument in app[command].assemble_argument_collection():
            if not argument.children:
                yield pytest.param(command, argument, id=f"{command}{argument.name}")


def kinds_of(hint):
    """The types that a hint is made of."""
    parts = get_args(hint)
    return set().union(*map(kinds_of, parts)) if parts else {hint}


@pytest.mark.parametrize(("command", "argument"), list(all_options()))
def test_impossible_values_are_one_line_and_2(command, argument, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kinds = kinds_of(argument.hint)
    values = []
    if int in kinds:
        values = NEVER_AN_INTEGER
    elif float in kinds:
        values = NEVER_A_NUMBER
    elif argument.get_choices():
        values = ["x"]
    # What else the command needs.
    needed = [
        word
        for other in app[command].assemble_argument_collection()
        if other.required and other.name != argument.name
        for word in ([other.name] if other.name.startswith("-") else [])
        + list((other.get_choices() or ["here"])[:1])
    ]
    for value in values:
        words = [f"{argument.name}={value}"] if argument.name.startswith("-") else [value]
        done = tfvae(command, *needed, *words)
        assert_refused(done, argument.name)
    words = [f"{argument.name}=a\0b"] if argument.name.startswith("-") else ["a\0b"]
    assert_refused(tfvae(command, *needed, *words), "null characters")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["latent-dim", "num-resampled", "beta", "hidden", "network"])
@pytest.mark.parametrize(
    "value", ["", "nan", "inf", "0x10", "1 2", "None,", "a\nb", "{", 5000 * "9", DEEP]
)
def test_no_words_give_a_traceback(option, value):
    if value is DEEP and option == "hidden":
        message = "the options are nested too deeply"
    else:
        message = f"--{option} must be "
    assert_refused(tfvae("train", f"--{option}={value}"), message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fly", "there is no command 'fly': known are "),
        ("trian", "there is no command 'trian': did you mean train?"),
        ("--latent-dim 3", "there is no command '--latent-dim'"),
        ("train --latent-dims 3", "Unknown option: --latent-dims. Did you mean --latent-dim?"),
        ("train --lr 0.1", "Unknown option: --lr. Did you mean --learning-rate?"),
        ("train --kl-weight=2", "Unknown option: --kl-weight. Did you mean --beta?"),
        ("train 5", "there is no place for '5'"),
        (
            "train --epochs many",
            "--epochs must be an integer from 1 to 1,000,000,000, or none; got",
        ),
        (
            "train --latent-dim 100000000000",
            "--latent-dim must be an integer from 1 to 100,000; g",
        ),
        ("train --seed 4294967296", "--seed must be an integer from 0 to 4,294,967,295; got '429"),
        ("train --hidden 8 0", "--hidden must be a list of integers from 1 to 100,000, or none; g"),
        ("train --hidden", "--hidden needs a value: The units of each hidden layer of an mlp"),
        ("train --seed 1 --seed 2", "--seed specified multiple times"),
        ("train --network rnn", "--network must be one of mlp, conv, resnet; got 'rnn'"),
        ("train --weight-decay 0", "--weight-decay must be a number above 0 and at most 1,000,"),
        ("train --filters 8", "filters is for the network conv or resnet; the network is mlp"),
        ("train --tensorboard=maybe", "--tensorboard must be true or false; got 'maybe'"),
        ("train --recipe burda-vae", "there is no recipe 'burda-vae': did you mean burda2015-vae?"),
        ("train --config settings.toml", "did you mean latent_dim? (settings.toml has latent_dims"),
        ("train --config deep.json", "deep.json is not JSON: it is nested too deeply"),
        ("train --config absent.toml", "cannot read the settings absent.toml: No such file"),
        ("train --local-workers 2", "--local-workers is for --strategy multi_worker; got auto"),
        (
            "train --resume .",
            "there is no training run in ., where its run.json and",
        ),
        ("sample", "MODEL needs a value: A .keras file, the folder of a training run"),
        ("sample digits --count 100000000", "--count must be an integer from 1 to 100,000; got"),
        ("sample digits --count 0", "--count must be an integer from 1 to 100,000; got '0'"),
        ("request score", "--output needs a value: a path"),
        ("request fly --output a.npz", "SIGNATURE must be one of encode, decode, reconstruct"),
        (
            "tune --latent-dims 0",
            "--latent-dims must be a list of integers from 1 to 100,000, or none; got",
        ),
        ("tune --latent-range 3", "--latent-range needs a value: The smallest and the largest"),
    ],
)
def test_wrong_usage_says_what_is_wrong(words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.toml").write_text("latent_dims = 3")
    (tmp_path / "deep.json").write_text(DEEP)
    assert_refused(tfvae(*words.split()), message)


def test_options_with_lists_take_several_values():
    _, bound, _ = app.parse_args(["request", "sample", "--seed", "1", "2", "--output", "a.npz"])
    assert bound.arguments["seed"] == [1, 2]
    _, bound, _ = app.parse_args(["tune", "--latent-dims", "2", "4", "8", "--betas", "0.5", "1"])
    assert bound.arguments["space"].model_dump(exclude_unset=True) == {
        "latent_dims": (2, 4, 8),
        "betas": (0.5, 1.0),
    }


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_a_terminal_and_has_every_option(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = tfvae(*command, "--help")
    assert done.status == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "bool" not in done.stdout.lower()
    names = (
        [a.name for a in app[command[0]].assemble_argument_collection()] if command else COMMANDS
    )
    assert all(name in done.stdout for name in names if name != "*")
    if "train" in command:
        places = [done.stdout.index(f" --{name} ") for name in ("dataset", "output", "hidden")]
        assert places == sorted(places)
        assert done.stdout.index("Common options") < done.stdout.index("Networks")


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from tfvae import cli\n"
        "sys.argv = ['tfvae', 'train', '--help']\n"
        "assert cli.main() == 0\n"
        "slow = {'tensorflow', 'keras', 'numpy', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: tfvae train" in done.stdout


def test_versions():
    output = tfvae("--version").stdout
    assert f"tfvae {__version__}\n" in output
    for package in ("tensorflow", "keras", "tensorflow-probability"):
        assert f"{package} {version(package)}\n" in output


def test_recipes_are_listed_with_the_published_numbers():
    output = tfvae("recipes").stdout
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


def test_a_reader_who_has_enough_ends_the_command():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "tfvae.cli", "recipes"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_settings_of_a_file_are_those_of_json(trained, tmp_path):
    settings = TrainingSettings.merged(recipe="burda2015-iwae", seed=4)
    (tmp_path / "settings.json").write_text(settings.to_json())
    assert json.loads(settings.to_json())["hidden"] == [200, 200]
    tfvae("train", "--config", "settings.json")
    assert trained == [settings]
