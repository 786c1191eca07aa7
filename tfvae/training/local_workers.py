"""Several workers on one machine, for trying what several machines will do."""

import contextlib
import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

SECONDS_TO_FOLLOW = 60.0
"""How long the others have to end by themselves once one worker has failed."""


def run_local_workers(command: Sequence[str], count: int) -> int:
    """Runs a command in several processes, each a worker of one job, and waits for all.

    The processes share the cores of this machine, and none of them outlives this one.

    Args:
        command: The command of one worker.
        count: How many workers.

    Returns:
        The exit code: 0 if all ended well, else that of the first one that failed.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads, **os.environ}
    workers: list[subprocess.Popen] = []
    exit_code, deadline = 0, math.inf
    try:
        for index in range(count):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            variables = environment | {"TF_CONFIG": json.dumps(task)}
            workers.append(subprocess.Popen(command, env=variables, preexec_fn=end_with_parent))
        while True:
            codes = [worker.poll() for worker in workers]
            if any(codes) and not exit_code:
                exit_code = next(filter(None, codes))
                deadline = time.monotonic() + SECONDS_TO_FOLLOW
            if None not in codes or time.monotonic() > deadline:
                return 128 - exit_code if exit_code < 0 else exit_code
            # The terminal has told the workers of Ctrl-C, too.
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine at which nobody listens."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in listeners]


def end_with_parent() -> None:
    """Has Linux kill this process when the one that started it has ended, however it ended."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
