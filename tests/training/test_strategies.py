import json
import socket

import forked_processes
import forked_programs
import pytest
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.training import local_processes, runs, strategies


def config(workers=("a:1", "b:2"), index=0, kind="worker"):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": kind, "index": index}})


def test_names():
    assert strategies.get("one_device") is None
    assert strategies.get("mirrored").num_replicas_in_sync >= 1
    with pytest.raises(
        InputError, match=r"strategy must be one of auto, one_device, .*; got 'tpu'"
    ):
        strategies.get("tpu")


def test_auto_is_one_device_without_several_gpus():
    if len(tf.config.list_logical_devices("GPU")) < 2:
        assert strategies.get("auto") is None


@pytest.mark.gpu
def test_auto_takes_all_gpus(gpus):
    strategy = strategies.get("auto")
    if len(gpus) > 1:
        assert isinstance(strategy, tf.distribute.MirroredStrategy)
        assert all("GPU" in device for device in strategy.extended.worker_devices)
    assert strategies.get("mirrored").num_replicas_in_sync == len(gpus)


def test_one_process_is_its_own_chief():
    assert strategies.is_chief(None)
    assert strategies.is_chief(strategies.get("mirrored"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs TF_CONFIG, which is not set"),
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "must have workers, and nothing else; got {}"),
        ("7", "TF_CONFIG cannot be used"),
        ('{"cluster": [], "task": {}}', "TF_CONFIG cannot be used"),
        (config(workers=[]), "must have workers, and nothing else"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}', "must have workers, and nothing else"),
        (config(workers=["a:1", "b"]), "each worker must be 'host:port'; got a:1, b"),
        (config(workers=["a:0"]), "each worker must be 'host:port'; got a:0"),
        (config(workers=["a:99999"]), "TF_CONFIG cannot be used: Port out of range"),
        (config(workers=[7]), "TF_CONFIG cannot be used"),
        (config(kind="chief"), "this is chief 0, of 2 workers"),
        (config(index=2), "this is worker 2, of 2 workers"),
        (config(index=None), "TF_CONFIG cannot be used"),
        ('{"cluster": {"worker": ["a:1"]}}', "this is None None, of 1 workers"),
        (config(workers=["no such host:5556"]), "each worker must be 'host:port'; got no such ho"),
        (config(workers=["a\0b:5556"]), "each worker must be 'host:port'; got a"),
        (config(workers=["::1:5558"]), "TF_CONFIG cannot be used: Port could not be cast"),
        (config(workers=["nohost.invalid:5556"]), "there is no host 'nohost.invalid:5556': "),
        (config(workers=[f"{'a' * 70}.invalid:5556"]), "there is no host 'aaa"),
    ],
)
def test_tf_config_that_cannot_be_used_is_refused(text, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=message):
        strategies.get("multi_worker")


@pytest.mark.slow
def test_a_command_on_several_devices_trains_evaluates_and_exports(tiny_run, tmp_path):
    """With the numbers of one device: the replicas draw other noise, and see the same images."""
    arguments = ("--config", str(tiny_run.folder / runs.SETTINGS), "--strategy", "mirrored")
    arguments += ("--output", str(tmp_path / "run"), "--num-importance-samples", "10")
    processes = forked_processes.start(
        forked_programs.run_command_on_two_cpus, "train", *arguments, logs=tmp_path
    )
    codes = forked_processes.end(processes)
    log = (tmp_path / "log-0.txt").read_text()
    assert codes == [0], log
    assert "parameters; 2 replicas; up to 4 epochs" in log
    assert (tmp_path / "run" / "saved_model" / "1").is_dir()
    results = json.loads((tmp_path / "run" / runs.RESULTS).read_text())
    assert results["settings"]["strategy"] == "mirrored"
    assert results["elbo"] == pytest.approx(tiny_run.results["elbo"], rel=0.02)


def test_port_in_use_is_refused(monkeypatch):
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", config(workers=[f"127.0.0.1:{port}", "127.0.0.1:1"]))
        with pytest.raises(InputError, match=f"cannot listen on port {port}: Address already"):
            strategies.get("multi_worker")


def test_worker_that_never_comes_is_named(monkeypatch):
    here, there = local_processes.free_ports(2)
    addresses = [f"127.0.0.1:{here}", f"127.0.0.1:{there}"]
    monkeypatch.setenv("TF_CONFIG", config(workers=addresses))
    with pytest.raises(InputError, match=rf"waited 0.5 s for worker 1 \(127.0.0.1:{there}\)"):
        strategies.get("multi_worker", seconds_to_wait=0.5)


def test_an_address_that_is_not_that_of_this_machine_is_not_waited_for_long(monkeypatch):
    # The loopback interface has it, but nobody can be reached there by this name.
    (here,) = local_processes.free_ports(1)
    monkeypatch.setattr(strategies, "_greet", lambda address, index: False)
    monkeypatch.setenv("TF_CONFIG", config(workers=[f"localhost:{here}"]))
    with pytest.raises(InputError, match=r"worker 0 waited 0.3 s for worker 0 .*as others reach"):
        strategies.get("multi_worker", seconds_to_wait=0.3)


def test_stranger_at_a_port_is_no_worker(monkeypatch):
    # It takes every connection, as a worker of an earlier job would, and says nothing.
    (here,) = local_processes.free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        there = stranger.getsockname()[1]
        addresses = [f"127.0.0.1:{here}", f"127.0.0.1:{there}"]
        monkeypatch.setenv("TF_CONFIG", config(workers=addresses))
        with pytest.raises(InputError, match=r"for worker 1 .*did not come"):
            strategies.get("multi_worker", seconds_to_wait=0.5)
