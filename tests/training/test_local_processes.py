"""Several processes on this machine give what one gives."""

import json
import signal
import subprocess
import sys
import time
import zlib

import forked_processes
import forked_programs
import numpy as np
import psutil
import pytest
from small_models import IMAGE_SHAPE, binary_images, trained

import tfvae
from tfvae.training import local_processes, runs


@pytest.fixture(scope="module")
def images():
    return binary_images(33, IMAGE_SHAPE)


@pytest.fixture(scope="module")
def one_device(images):
    return trained(None, images, **forked_programs.compile_arguments())


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_workers_train_like_one_device(count, one_device, images, digits_data_dir, tmp_path):
    processes = forked_processes.start(
        forked_programs.train_as_worker,
        str(tmp_path),
        str(digits_data_dir),
        logs=tmp_path,
        count=count,
    )
    exit_codes = forked_processes.end(processes)
    assert exit_codes == [0] * count, (tmp_path / "log-0.txt").read_text()[-2000:]
    results = [dict(np.load(tmp_path / f"{index}.npz")) for index in range(count)]

    # Bit-equal between workers, and close to one device.
    weights = sorted(name for name in results[0] if name.startswith("weight_"))
    for name in [*weights, *(name for name in results[0] if name.startswith("log_"))]:
        for other in results[1:]:
            np.testing.assert_array_equal(results[0][name], other[name], err_msg=name)
    vae, history = one_device
    for name, expected in zip(weights, vae.get_weights(), strict=True):
        np.testing.assert_allclose(results[0][name], expected, rtol=0, atol=1e-5)
    for name, values in history.items():
        np.testing.assert_allclose(results[0][f"log_{name}"], values, rtol=1e-5, err_msg=name)
    for result in results:
        expected = vae.predict(images, batch_size=8, verbose=0)
        np.testing.assert_allclose(result["predicted"], expected, atol=1e-4)

    # Each image is seen by one worker, once an epoch, in the epochs that one process has.
    data = tfvae.load_dataset(
        "digits", "validation", batch_size=40, seed=1, shuffle=True, data_dir=digits_data_dir
    )
    for epoch in ("first_epoch", "second_epoch"):
        expected = sorted(
            zlib.crc32(image.tobytes()) for image in data.unbatch().as_numpy_iterator()
        )
        seen = sorted(number for result in results for number in result[epoch])
        assert seen == expected
        assert len(seen) == 180
        assert all(len(result[epoch]) for result in results)


@pytest.mark.slow
def test_a_command_with_local_workers_trains_and_says_so_once(tiny_run, tmp_path):
    arguments = ("--config", tiny_run.folder / runs.SETTINGS, "--strategy", "multi_worker")
    arguments += (
        "--local-workers",
        2,
        "--output",
        tmp_path / "run",
        "--num-importance-samples",
        10,
    )
    done = subprocess.run(
        [sys.executable, "-m", "tfvae.cli", "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameters; 2 replicas; up to 4 epochs") == 1
    assert done.stdout.count(f"Model    {tmp_path}/run/model.keras") == 1
    results = json.loads((tmp_path / "run" / runs.RESULTS).read_text())
    assert results["elbo"] == pytest.approx(tiny_run.results["elbo"], rel=0.02)


def test_failure_of_one_ends_all_and_gives_its_exit_code(monkeypatch):
    monkeypatch.setattr(local_processes, "SECONDS_TO_FOLLOW", 0.5)
    program = (
        "import json, os, sys, time\n"
        "if json.loads(os.environ['TF_CONFIG'])['task']['index']: sys.exit(3)\n"
        "time.sleep(60)"
    )
    began = time.monotonic()
    assert local_processes.run_workers([sys.executable, "-c", program], 2) == 3
    assert time.monotonic() - began < 30


def test_worker_killed_by_a_signal_is_a_failure():
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert local_processes.run_workers([sys.executable, "-c", program], 1) == 137


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process of this")
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path):
    worker = f"import os, pathlib, time; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()"
    command = [sys.executable, "-c", f"{worker}; time.sleep(60)"]
    program = f"from tfvae.training import local_processes as p; p.run_workers({command!r}, 2)"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        while len(list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    pids = [int(file.name) for file in tmp_path.iterdir()]
    deadline = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process of this")
@pytest.mark.parametrize("victim", ["parent", "worker"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_the_command_end_with_their_parent_and_on_a_signal(victim, number, tmp_path):
    folder = tmp_path / "run"
    command = ("train", "--strategy", "multi_worker", "--local-workers", "2", "--hidden", "16")
    command += ("--epochs", "100000", "--patience", "100000", "--output", str(folder))
    with subprocess.Popen([sys.executable, "-m", "tfvae.cli", *command]) as parent:
        while not (folder / "backup" / "epoch-000001").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
        (parent if victim == "parent" else children[1]).send_signal(number)
        parent.wait(timeout=120)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert parent.returncode
