"""Strategies of tf.distribute by name, and how the workers of one job find each other."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from typing import get_args
from urllib.parse import urlsplit

import tensorflow as tf

from tfvae.common.checks import check_choice
from tfvae.common.errors import InputError
from tfvae.fitting.replicas import has_several_workers
from tfvae.training.settings import Strategy

SECONDS_TO_WAIT = 120.0
"""How long a worker waits for the others before it gives up."""

_EXAMPLE = (
    'expected is such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}, with the index of each worker in its own'
)


def get(
    name: Strategy, *, seconds_to_wait: float = SECONDS_TO_WAIT
) -> tf.distribute.Strategy | None:
    """Makes the strategy of a name.

    Args:
        name: `auto`: `mirrored` if several GPUs are visible, else `one_device`. `one_device`:
            none, TensorFlow's own choice of a device. `mirrored`: a replica on each visible GPU of
            this machine or, if there is none, on each logical CPU. `multi_worker`: one worker of
            several processes, as `TF_CONFIG` says; ask for it before anything else of TensorFlow.
        seconds_to_wait: How long `multi_worker` waits for the other workers.

    Returns:
        The strategy; None for one device.

    Example:
        >>> with tfvae.training.strategies.get("mirrored").scope():
        ...     vae = tfvae.VAE()
    """
    check_choice("strategy", name, get_args(Strategy))
    if name == "auto":
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one_device"
    if name == "one_device":
        return None
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    _wait_for_workers(*_read_tf_config(), seconds_to_wait)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    # TensorFlow takes SIGTERM for news of a preemption, and goes on.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return strategy


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager:
    """The scope in which a model for a strategy is made; that of one device changes nothing."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes files: the first worker, or the only one."""
    resolver = None if strategy is None else strategy.cluster_resolver
    return resolver is None or not resolver.task_id


def wait_for_all(strategy: tf.distribute.Strategy | None) -> None:
    """Returns once every worker has called this; at once if there is only one.

    A worker that ends while others go on looks to them like one that crashed.
    """
    if strategy is None or not has_several_workers(strategy):
        return

    def add_up_ones():
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0))

    exchange = tf.function(lambda: strategy.run(add_up_ones))
    exchange()
    # A worker has its sum while another is still being sent it, and must not end then. A second
    # sum is there only once all have begun to ask for it, and so have the first. What becomes of
    # the second does not matter.
    with contextlib.suppress(tf.errors.OpError):
        exchange()


def _read_tf_config() -> tuple[list[str], int]:
    """The addresses `host:port` of all workers, and the index of this one."""
    if not os.environ.get("TF_CONFIG"):
        raise InputError(f"the strategy multi_worker needs TF_CONFIG, which is not set; {_EXAMPLE}")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    try:
        cluster = resolver.cluster_spec().as_dict()
        workers, index = cluster.get("worker", []), resolver.task_id
        if not workers or len(cluster) > 1:
            raise ValueError(f"its cluster must have workers, and nothing else; got {cluster}")
        if not all(map(all, map(_host_and_port, workers))):
            raise ValueError(f"each worker must be 'host:port'; got {', '.join(workers)}")
        if resolver.task_type != "worker" or index not in range(len(workers)):
            raise ValueError(f"this is {resolver.task_type} {index}, of {len(workers)} workers")
        _check_host(workers[index])
    except json.JSONDecodeError as error:
        raise InputError(f"TF_CONFIG is not JSON ({error}); {_EXAMPLE}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"TF_CONFIG cannot be used: {error}; {_EXAMPLE}") from error
    return workers, index


def _host_and_port(address: str) -> tuple[str | None, int | None]:
    if re.search(r"[^\w.:\[\]-]", address):
        return None, None
    url = urlsplit(f"//{address}")
    return url.hostname, url.port


def _check_host(address: str) -> None:
    """Refuses a host of this machine that is none, for which TensorFlow would wait for ever.

    The names of other machines may be known only once they have started.
    """
    try:
        socket.getaddrinfo(*_host_and_port(address))
    except (OSError, UnicodeError) as error:
        raise ValueError(f"there is no host {address!r}: {error}") from error


def _wait_for_workers(workers: list[str], index: int, seconds: float) -> None:
    """Waits until every worker listens, because TensorFlow waits for hours and names nobody.

    Each process listens at its own address until it has greeted all and all have greeted it, itself
    too, which nothing else at their ports does; then TensorFlow's server takes the place.
    """
    _, port = _host_and_port(workers[index])
    try:
        listener = socket.create_server(("", port), backlog=len(workers))
    except OSError as error:
        raise InputError(
            f"worker {index} cannot listen on port {port}: {error.strerror}; end what uses the "
            "port, or give TF_CONFIG another"
        ) from error
    deadline = time.monotonic() + seconds
    not_greeted, silent = (set(range(len(workers))) for _ in range(2))
    with listener:
        listener.settimeout(0.05)
        while absent := not_greeted | silent:
            if time.monotonic() > deadline:
                names = ", ".join(f"{other} ({workers[other]})" for other in sorted(absent))
                raise InputError(
                    f"worker {index} waited {seconds:g} s for worker {names}, which did not come: "
                    "start it, look why it ended, or give its address as others reach it"
                )
            not_greeted = {other for other in not_greeted if not _greet(workers[other], index)}
            silent.discard(_receive_greeting(listener))


def _greet(address: str, index: int) -> bool:
    try:
        with socket.create_connection(_host_and_port(address), timeout=0.5) as connection:
            connection.sendall(f"tfvae {index}\n".encode())
            return True
    except OSError:
        return False


def _receive_greeting(listener: socket.socket) -> int | None:
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.5)
            word, _, index = connection.recv(64).decode("ascii", "replace").partition(" ")
            return int(index) if word == "tfvae" else None
    except (OSError, ValueError):
        return None
