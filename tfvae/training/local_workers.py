"""Several workers on one machine, for trying what several machines will do."""

import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Sequence

SECONDS_TO_FOLLOW = 60.0
"""How long the others have to end by themselves once one worker has failed."""


def run_local_workers(command: Sequence[str], count: int) -> int:
    """Runs a command in several processes, each a worker of one job, and waits for all.

    The processes share the cores of this machine. When one fails, the others notice by
    themselves; those that do not are ended. None outlives this call.

    Args:
        command: The command of one worker.
        count: How many.

    Returns:
        The exit code: 0 if all ended well, else that of the first one that failed.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    workers = []
    try:
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {
                "TF_NUM_INTRAOP_THREADS": threads,
                "OMP_NUM_THREADS": threads,
                **os.environ,
                "TF_CONFIG": json.dumps(config),
            }
            workers.append(subprocess.Popen(command, env=environment))
        return _wait(workers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on.

    Args:
        count: How many.
    """
    with_sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in with_sockets]
    finally:
        for listener in with_sockets:
            listener.close()


def _wait(workers: list[subprocess.Popen]) -> int:
    failed, deadline = 0, math.inf
    while time.monotonic() < deadline:
        codes = [worker.poll() for worker in workers]
        if not failed and any(codes):
            failed = next(filter(None, codes))
            deadline = time.monotonic() + SECONDS_TO_FOLLOW
        if None not in codes:
            break
        try:
            time.sleep(0.1)
        except KeyboardInterrupt:
            # The terminal has told the workers, too.
            continue
    return 128 - failed if failed < 0 else failed
