import os
import subprocess
import sys

import forked_processes
import forked_programs
import pytest

import tfvae
from tfvae.training import runs
from tfvae.training.settings import TrainingSettings

TINY = ("--widths", "16", "--depths", "1", "--epochs", "1")


def tune(program, *options, cwd):
    return subprocess.run(
        [sys.executable, *program, *map(str, options)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_the_command_searches_the_digits(digits_data_dir, tmp_path):
    options = ("--data-dir", digits_data_dir, "--latent-dims", "2", "--output", tmp_path / "sizes")
    command = map(str, ("tune", *options, *TINY))
    processes = forked_processes.start(forked_programs.run_command, *command, logs=tmp_path)
    assert forked_processes.end(processes) == [0]
    folder = tmp_path / "sizes"
    lines = (tmp_path / "log-0.txt").read_text().splitlines()
    assert any(
        line.startswith("trial 0000: latent_dim 2  width 16  depth 1  val_") for line in lines
    )
    assert any(line.startswith("Take 2 latent dimensions: ") for line in lines)
    assert any(line.startswith("Table ") and line.endswith("/results.csv") for line in lines)
    assert runs.load_vae(folder).latent_dim == 2
    settings = TrainingSettings.of_run(folder / runs.SETTINGS)
    assert (settings.latent_dim, settings.hidden) == (2, (16,))


@pytest.mark.slow
def test_the_script_searches_in_several_processes_and_exports(digits_data_dir, tmp_path):
    script = (tfvae.__path__[0] + "/../tuning/latent_size.py",)
    options = ("--data-dir", digits_data_dir, "--latent-dims", "2", "4", "8", *TINY)
    options += ("--workers", 2, "--export", "--output", "sizes")
    ended = tune(script, *options, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    # Each trial is told of once, and so is the result.
    for line in ("trial 0000: ", "trial 0001: ", "trial 0002: ", "Take ", "Table "):
        assert len([each for each in ended.stdout.splitlines() if each.startswith(line)]) == 1
    assert list((tmp_path / "sizes" / "saved_model").glob("*/saved_model.pb"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent-dims", "2", "4", "0"], "--latent-dims must be a list of integers from 1 "),
        (["--max-trials", "0"], "--max-trials must be an integer from 1 "),
    ],
)
def test_the_command_refuses_what_is_impossible(options, message, tmp_path):
    ended = tune(("-m", "tfvae.cli", "tune"), *options, cwd=tmp_path)
    assert message in ended.stderr
    assert ended.returncode == 2
    assert not list(tmp_path.iterdir())
