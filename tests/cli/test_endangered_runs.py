"""The real command, killed, interrupted, short of room, and beside another one."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tfvae.training import runs

pytestmark = pytest.mark.slow

SMALL = ("--hidden", "16", "--latent-dim", "2", "--batch-size", "256")
QUICK = (*SMALL, "--num-importance-samples", "5")


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "tfvae.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        **options,
    )


def run(*arguments):
    process = start(*arguments)
    output, _ = process.communicate(timeout=300)
    assert "Traceback" not in output
    return process.returncode, output


def wait_for_backup(process, folder, epoch):
    while not (folder / "backup" / f"epoch-{epoch:06d}").is_dir():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def check_equal(folder, other):
    """Two runs have learned the same, to the bit, but for the time that it took."""
    histories = [runs.read_history(each / "history.csv") for each in (folder, other)]
    assert histories[0] == histories[1]
    weights = [runs.load_vae(each).get_weights() for each in (folder, other)]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ctrl_c_stops_and_resume_goes_on_as_if_nothing_had_happened(tmp_path):
    options = (*QUICK, "--epochs", 60, "--patience", 60)
    assert run("train", *options, "--output", tmp_path / "whole")[0] == 0
    folder = tmp_path / "run"
    process = start("train", *options, "--output", folder)
    wait_for_backup(process, folder, 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "Ctrl-C again skips the evaluation; `tfvae train --resume" in output
    stopped = len(runs.read_history(folder / "history.csv")["epoch"])
    assert f"Stopped in epoch {stopped}. " in output
    # The epoch may just have ended.
    done = int(re.search(r"goes on after epoch (\d+)", output).group(1))
    assert done in (stopped - 1, stopped)
    assert not runs.read_run(folder)["has_ended"]
    code, output = run("train", "--resume", folder)
    assert code == 0, output
    assert f"up to 60 epochs, {done} of them done" in output
    check_equal(folder, tmp_path / "whole")
    code, output = run("train", "--resume", folder)
    assert (code, output.count("\n")) == (2, 1)
    assert "has ended: there is nothing to resume" in output
    code, output = run("train", "--resume", folder, "--epochs", 62)
    assert code == 0, output
    assert "up to 62 epochs, 60 of them done" in output
    assert len(runs.read_history(folder / "history.csv")["epoch"]) == 62


def test_a_second_ctrl_c_skips_the_evaluation_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    process = start("train", *SMALL, "--epochs", 1000, "--output", folder)
    wait_for_backup(process, folder, 2)
    process.send_signal(signal.SIGINT)
    for line in process.stdout:
        if line.startswith("Stopped in epoch"):
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"tfvae: interrupted; `tfvae train --resume {folder}` goes on\n" in output
    assert not (folder / "results.json").exists()


def test_of_several_that_want_a_folder_one_gets_it(tmp_path):
    folder = tmp_path / "run"
    options = (*QUICK, "--epochs", 20, "--output", folder)
    processes = [start("train", *options, "--seed", seed) for seed in range(3)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2, 2], outputs
    for code, output in zip(codes, outputs, strict=True):
        if code:
            assert "another process trains in" in output or "is not empty" in output
            assert output.count("\n") == 1
    seed = codes.index(0)
    assert json.loads((folder / "settings.json").read_text())["seed"] == seed
    assert json.loads((folder / "results.json").read_text())["settings"]["seed"] == seed


def test_a_resume_beside_the_run_is_refused(tmp_path):
    folder = tmp_path / "run"
    process = start("train", *QUICK, "--epochs", 3000, "--patience", 3000, "--output", folder)
    try:
        wait_for_backup(process, folder, 1)
        code, output = run("train", "--resume", folder)
        assert (code, output.count("\n")) == (2, 1)
        assert "another process trains in" in output
        code, output = run("publish", folder, tmp_path / "published")
        assert code == 2
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def small_disk(tmp_path):
    """A folder of 600 kB; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("left", [500, 300, 200, 100, 30, 0])
def test_a_full_disk_is_one_line_and_what_was_there_stays(left, small_disk):
    """Full at the first backup, at a later one, or when all is written at the end."""
    (small_disk / "filler").write_bytes(bytes((590 - left) * 1000))
    folder = small_disk / "r"
    code, output = run("train", *QUICK, "--epochs", 3, "--output", folder)
    errors = [line for line in output.splitlines() if line.startswith("tfvae: ")]
    assert code == 1, output
    assert len([line for line in errors if "warning" not in line]) == 1, output
    assert "No space left on device" in errors[-1] or "ResourceExhausted" in errors[-1]
    assert not list(small_disk.rglob(".*.tfvae"))
    if folder.exists():
        (small_disk / "filler").unlink()
        if (folder / "backup").exists():
            assert f"`tfvae train --resume {folder}` goes on" in errors[-1]
        assert not list(folder.glob("*.h5"))
