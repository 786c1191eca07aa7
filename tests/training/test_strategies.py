import json
import socket

import pytest
import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.training import local_workers as workers
from tfvae.training import strategies


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


def test_tf_config_is_understood():
    assert strategies.parse_tf_config(config(index=1)) == (["a:1", "b:2"], 1)
    assert strategies.parse_tf_config(config(index="1")) == (["a:1", "b:2"], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs TF_CONFIG, which is not set"),
        ("{", "TF_CONFIG is not JSON"),
        ("[]", 'TF_CONFIG has no "cluster"'),
        ('{"cluster": {}}', 'TF_CONFIG has no "task"'),
        ('{"cluster": {}, "task": {}}', "no list of workers"),
        (config(workers=[]), "no list of workers"),
        (config(workers=["a"]), "the worker 'a'; expected is 'host:port'"),
        (config(workers=["a:0"]), "the worker 'a:0'; expected is 'host:port'"),
        (config(workers=[7]), "the worker 7; expected is 'host:port'"),
        (config(workers=["a:1", "a:1"]), "names a worker twice: a:1, a:1"),
        (config(kind="chief"), "task type 'chief'; expected is 'worker'"),
        (config(index=2), "task index 2; expected is one from 0 to 1"),
        (config(index=None), "task index None"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {}}', "tasks of type ps"),
    ],
)
def test_tf_config_that_cannot_be_used_is_refused(text, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=message):
        strategies.get("multi_worker")


def test_port_in_use_is_refused(monkeypatch):
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", config(workers=[f"127.0.0.1:{port}", "127.0.0.1:1"]))
        with pytest.raises(InputError, match=f"cannot listen on port {port}: Address already"):
            strategies.get("multi_worker")


def test_worker_that_never_comes_is_named(monkeypatch):
    here, there = workers.free_ports(2)
    addresses = [f"127.0.0.1:{here}", f"127.0.0.1:{there}"]
    monkeypatch.setenv("TF_CONFIG", config(workers=addresses))
    with pytest.raises(InputError, match=rf"waited 0.5 s for worker 1 \(127.0.0.1:{there}\)"):
        strategies.get("multi_worker", seconds_to_wait=0.5)


def test_stranger_at_a_port_is_no_worker(monkeypatch):
    # It takes every connection, as a worker of an earlier job would, and says nothing.
    (here,) = workers.free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        there = stranger.getsockname()[1]
        addresses = [f"127.0.0.1:{here}", f"127.0.0.1:{there}"]
        monkeypatch.setenv("TF_CONFIG", config(workers=addresses))
        with pytest.raises(InputError, match=r"for worker 1 .*did not come"):
            strategies.get("multi_worker", seconds_to_wait=0.5)
