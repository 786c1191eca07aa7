"""Names to strategies of tf.distribute, and what several processes need to find each other."""

import contextlib
import json
import os
import socket
import time
from typing import Any, get_args

import tensorflow as tf

from tfvae.common.errors import InputError
from tfvae.fitting.replicas import has_several_workers, sum_over_replicas
from tfvae.training.settings import Strategy

SECONDS_TO_WAIT = 120.0
"""How long a worker waits for the others before it gives up."""


def get(
    name: Strategy, *, seconds_to_wait: float = SECONDS_TO_WAIT
) -> tf.distribute.Strategy | None:
    """The strategy of a name.

    Args:
        name: `auto`: `mirrored` where several GPUs are visible, else `one_device`. `one_device`:
            none, TensorFlow's own choice of a device. `mirrored`: a replica on each visible GPU of
            this machine or, where there is none, on each logical CPU. `multi_worker`: one worker of
            several processes, as `TF_CONFIG` says; it must be asked for before TensorFlow is used.
        seconds_to_wait: Of `multi_worker`: how long to wait for the other workers.

    Returns:
        The strategy; None for one device.

    Raises:
        InputError: If there is no such name, or `TF_CONFIG` cannot be used, or a worker does not
            come.

    Example:
        >>> with tfvae.strategies.get("mirrored").scope():
        ...     vae = tfvae.VAE()
    """
    if name not in get_args(Strategy):
        raise InputError(f"strategy must be one of {', '.join(get_args(Strategy))}; got {name!r}")
    if name == "auto":
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one_device"
    if name == "one_device":
        return None
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    cluster, index = parse_tf_config()
    if len(cluster) > 1:
        _wait_for_workers(cluster, index, seconds_to_wait)
    return tf.distribute.MultiWorkerMirroredStrategy()


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager:
    """The scope in which a model for a strategy is made; that of one device changes nothing."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes files: the first worker, or the only one."""
    resolver = None if strategy is None else strategy.cluster_resolver
    return resolver is None or not resolver.task_id


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
    """Returns once every worker has called this; at once where there is only one.

    A worker that ends while others go on looks to them like one that crashed.
    """
    if strategy is not None and has_several_workers(strategy):

        @tf.function
        def exchange():
            return strategy.run(lambda: sum_over_replicas(tf.constant(1.0)))

        exchange()
        # A worker has its sum while another is still being sent it, and must not end then. A second
        # one is there only once all have begun to ask for it, and so have the first. What becomes
        # of the second does not matter.
        with contextlib.suppress(tf.errors.OpError):
            exchange()


def parse_tf_config(text: str | None = None) -> tuple[list[str], int]:
    """The workers of a job, and which of them this process is.

    Args:
        text: What `TF_CONFIG` holds; None to look there.

    Returns:
        The addresses `host:port` of the workers, and the index of this one.

    Raises:
        InputError: If it is missing, malformed or incomplete.
    """
    if text is None:
        text = os.environ.get("TF_CONFIG")
    example = (
        'expected is such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}, with the index of each worker in its own'
    )
    if not text:
        raise InputError(f"the strategy multi_worker needs TF_CONFIG, which is not set; {example}")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG is not JSON ({error}); {example}") from error
    cluster, task = _part(config, "cluster"), _part(config, "task")
    workers = cluster.get("worker")
    if not isinstance(workers, list) or not workers:
        raise InputError(f"TF_CONFIG has no list of workers in its cluster; {example}")
    others = sorted(set(cluster) - {"worker"})
    if others:
        raise InputError(
            f"TF_CONFIG has tasks of type {', '.join(others)} in its cluster; every process must "
            "be a worker, and the first of them is the chief"
        )
    for address in workers:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise InputError(f"TF_CONFIG has the worker {address!r}; expected is 'host:port'")
    if len(set(workers)) < len(workers):
        raise InputError(f"TF_CONFIG names a worker twice: {', '.join(workers)}")
    if task.get("type") != "worker":
        raise InputError(f"TF_CONFIG has the task type {task.get('type')!r}; expected is 'worker'")
    index = task.get("index")
    # Kubernetes and Slurm put text into variables.
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(workers):
        raise InputError(
            f"TF_CONFIG has the task index {index!r}; expected is one from 0 to {len(workers) - 1}"
        )
    return workers, index


def _part(config: Any, name: str) -> dict[str, Any]:
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise InputError(f'TF_CONFIG has no "{name}"; expected are "cluster" and "task"')
    return part


def _wait_for_workers(workers: list[str], index: int, seconds: float) -> None:
    """Waits until every worker listens, because TensorFlow waits for hours and names nobody.

    Each process listens at its own address until all have been reached by it and it by all; then
    TensorFlow's server takes the place.
    """
    port = int(workers[index].rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=len(workers))
    except OSError as error:
        raise InputError(
            f"worker {index} cannot listen on port {port}: {error.strerror}; end what uses the "
            "port, or give TF_CONFIG another"
        ) from error
    deadline = time.monotonic() + seconds
    missing, silent = (set(range(len(workers))) - {index} for _ in range(2))
    with listener:
        listener.settimeout(0.05)
        while missing or silent:
            for other in sorted(missing):
                if _greet(workers[other], index):
                    missing.discard(other)
            silent.discard(_greeting(listener))
            if time.monotonic() > deadline and (missing or silent):
                names = ", ".join(
                    f"{other} ({workers[other]})" for other in sorted(missing | silent)
                )
                raise InputError(
                    f"worker {index} waited {seconds:g} s for worker {names}, which did not come: "
                    "start it, or look why it ended"
                )


def _greet(address: str, index: int) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5) as connection:
            connection.sendall(f"tfvae {index}\n".encode())
            return True
    except OSError:
        return False


def _greeting(listener: socket.socket) -> int | None:
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.5)
            word, _, index = connection.recv(64).decode("ascii", "replace").partition(" ")
            return int(index) if word == "tfvae" else None
    except (OSError, ValueError):
        return None
