import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny_search
from tiny_search import GRID, NumbersHyperModel, NumbersTuner

from tfvae.common.errors import InputError, WorkerLostError
from tfvae.training.local_processes import free_ports
from tfvae.tuning import SearchSettings, oracles, processes

TINY_PROGRAM = [sys.executable, tiny_search.__file__]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in processes.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


def test_a_process_is_what_the_variables_say(monkeypatch):
    assert processes.role() == "alone"
    monkeypatch.setenv(processes.ORACLE_PORT, "1")
    monkeypatch.setenv(processes.TUNER_ID, "worker-1")
    with pytest.raises(InputError, match="KERASTUNER_ORACLE_IP must be set: a search over several"):
        processes.role()
    monkeypatch.setenv(processes.ORACLE_IP, "127.0.0.1")
    assert processes.role() == "worker"
    monkeypatch.setenv(processes.TUNER_ID, "chief")
    assert processes.role() == "chief"


def test_a_chief_that_is_not_there_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(processes, "SECONDS_TO_WAIT_FOR_CHIEF", 0.5)
    monkeypatch.setenv(processes.ORACLE_IP, "127.0.0.1")
    monkeypatch.setenv(processes.ORACLE_PORT, "1")
    message = "no chief answers at 127.0.0.1:1: start the process"
    with pytest.raises(InputError, match=message), processes.connected_to_chief():
        pytest.fail("there is no chief")


@pytest.mark.timeout(60)
def test_a_worker_runs_the_trials_of_the_chief_and_the_chief_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv(processes.ORACLE_IP, "127.0.0.1")
    monkeypatch.setenv(processes.ORACLE_PORT, str(free_ports(1)[0]))
    arguments = NumbersHyperModel(), SearchSettings(), tmp_path / "search"
    monkeypatch.setenv(processes.TUNER_ID, "chief")
    chief = NumbersTuner(*arguments)
    thread = threading.Thread(target=chief.search, daemon=True)
    thread.start()
    # The chief has read its name when it has saved its state.
    while not (tmp_path / "search" / oracles.STATE).is_file():
        time.sleep(0.01)
    time.sleep(0.2)
    monkeypatch.setenv(processes.TUNER_ID, "worker-1")
    run = []
    with processes.connected_to_chief():
        worker = NumbersTuner(*arguments)
        assert worker.is_worker
        worker.search(run)
    assert run == GRID
    thread.join()
    trials = oracles.read_trials(tmp_path / "search").values()
    assert [trial["score"] for trial in trials] == [latent_dim for latent_dim, _ in GRID]


def test_local_processes_have_their_names_and_end_with_the_workers(tmp_path, monkeypatch, capfd):
    program = """
import os, sys, time
name = os.environ["KERASTUNER_TUNER_ID"]
print(name, os.environ["KERASTUNER_ORACLE_IP"], os.environ["TF_NUM_INTRAOP_THREADS"])
if name == "chief":
    with open("number", "w") as file:
        file.write(str(os.getpid()))
    os.rename("number", "chief")
    time.sleep(60)
while not os.path.exists("chief"):
    time.sleep(0.01)
sys.exit(int(sys.argv[1]) if name == "worker-2" else 0)
"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", program, "0"])
    processes.run_local(2)
    assert not Path("/proc", (tmp_path / "chief").read_text()).exists()
    output = capfd.readouterr().out.splitlines()
    assert sorted(output) == ["worker-1 127.0.0.1 3", "worker-2 127.0.0.1 3"]
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", program, "3"])
    with pytest.raises(WorkerLostError, match="ended with exit code 3: start the same command"):
        processes.run_local(2)


# Programs that are killed.


def processes_of(folder):
    """The processes that have a folder among their arguments."""
    found = []
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in arguments.read_bytes():
                found.append(int(arguments.parent.name))
        except OSError:
            continue
    return [process for process in found if process != os.getpid()]


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def ended_well(folder):
    """The latent sizes of the trials that ended well."""
    return [
        trial["hyperparameters"]["values"]["latent_dim"]
        for trial in oracles.read_trials(folder).values()
        if trial["status"] == "COMPLETED"
    ]


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SECONDS", "1")
    folder = tmp_path / "search"
    random_times = random.Random(0)
    with (tmp_path / "output.txt").open("ab") as output:
        for _ in range(6):
            before = (folder / oracles.STATE).exists() and (
                folder / oracles.STATE
            ).stat().st_mtime_ns
            process = subprocess.Popen([*TINY_PROGRAM, folder], stdout=output)
            try:
                wait_until(
                    lambda before=before, process=process: (
                        process.poll() is not None
                        or (
                            (folder / oracles.STATE).exists()
                            and (folder / oracles.STATE).stat().st_mtime_ns != before
                        )
                    )
                )
                time.sleep(random_times.uniform(0.0, 4.0))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        subprocess.run([*TINY_PROGRAM, folder], stdout=output, check=True, timeout=300)
    assert ended_well(folder) == list(tiny_search.LATENT_DIMS)
    text = (tmp_path / "output.txt").read_text()
    assert all(text.count(f"trial {number:04d}: ") <= 1 for number in range(4))
    assert "Take " in text


@pytest.mark.slow
def test_local_processes_end_with_what_started_them_and_go_on_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_SECONDS", "2")
    folder = tmp_path / "search"
    command = [*TINY_PROGRAM, folder, "2"]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: len(list(folder.glob("trial_*/trial.json"))) >= 2)
        time.sleep(1.0)
        assert len(processes_of(folder)) == 4
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not processes_of(folder), seconds=10)
    # A worker that dies ends all as well.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(processes_of(folder)) == 4)
        name = f"{processes.TUNER_ID}=worker-1".encode()
        (victim,) = [
            each
            for each in processes_of(folder)
            if name in Path(f"/proc/{each}/environ").read_bytes()
        ]
        os.kill(victim, signal.SIGKILL)
        assert "a process of the search ended with exit code 137" in process.communicate()[1]
    assert not processes_of(folder)
    ended = subprocess.run(command, check=True, timeout=300, stdout=subprocess.PIPE, text=True)
    assert sorted(ended_well(folder)) == list(tiny_search.LATENT_DIMS)
    assert ended.stdout.count("Take ") == 1
    assert not processes_of(folder)
