"""Several processes on this machine that work on one thing, as several machines would."""

import contextlib
import ctypes
import functools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

SECONDS_TO_FOLLOW = 60.0
"""How long the workers of a job have to end by themselves once one of them has failed."""


def run_workers(command: Sequence[str], count: int) -> int:
    """Runs a command as so many workers of one job; what `run_together` returns."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    cluster = {"worker": addresses}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(count)]
    environments = [{"TF_CONFIG": json.dumps(task)} for task in tasks]
    return run_together(command, environments, seconds_to_follow=SECONDS_TO_FOLLOW)


def run_together(
    command: Sequence[str],
    workers: Sequence[Mapping[str, str]],
    chief: Mapping[str, str] | None = None,
    *,
    seconds_to_follow: float = 0.0,
) -> int:
    """Runs a command in several processes, and waits until all workers have ended or one failed.

    The processes share the cores of this machine, and none of them outlives this one.

    Args:
        command: The command of each process.
        workers: The variables of each worker, over those of this process.
        chief: The variables of a process that prints nothing and is ended with the workers. Ctrl-C
            is then for this process alone.
        seconds_to_follow: How long the others have to end by themselves once one has failed.

    Returns:
        The exit code: 0 if all ended well, else that of the first one that failed.
    """
    limits = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    threads = str(max(1, (os.cpu_count() or 1) // len(workers)))
    # Several processes may share a GPU.
    shared = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", **dict.fromkeys(limits, threads), **os.environ}
    processes: list[subprocess.Popen] = []
    exit_code, deadline = 0, math.inf
    try:
        for variables in (*workers, *([] if chief is None else [chief])):
            process = subprocess.Popen(
                command,
                env={**shared, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if variables is chief else None,
                start_new_session=chief is not None,
                preexec_fn=functools.partial(_end_with_parent, os.getpid()),
            )
            processes.append(process)
        while True:
            codes = [process.poll() for process in processes]
            if any(codes) and not exit_code:
                exit_code = next(filter(None, codes))
                deadline = time.monotonic() + seconds_to_follow
            if None not in codes[: len(workers)] or time.monotonic() > deadline:
                return 128 - exit_code if exit_code < 0 else exit_code
            # The terminal has told the workers of Ctrl-C, too.
            with contextlib.suppress(*([KeyboardInterrupt] if chief is None else [])):
                time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this machine at which nobody listens."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in listeners]


def _end_with_parent(parent: int) -> None:
    """Has Linux kill this process when the one that started it has ended, however it ended."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # It has ended already.
            os.kill(os.getpid(), signal.SIGKILL)
