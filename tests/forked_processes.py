"""Training processes that start at once: forked from one that has imported the libraries.

What is forked has not started TensorFlow, so that devices, threads and clusters are its own.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tfvae.training import local_processes

SECONDS = 600  # that a process may live, whatever becomes of the one that waits for it

_context = multiprocessing.get_context("forkserver")
# The data sets and the model by name, because they are imported when they are first used.
_context.set_forkserver_preload(
    ["forked_programs", "tfvae.vae", "tfvae.datasets.loading", "tfvae.training.job"]
)


def start(
    main: Callable, *arguments: str, logs: Path, count: int | None = None
) -> list[multiprocessing.Process]:
    """Starts processes.

    Args:
        main: What each of them runs, of `forked_programs` or another module that can be imported.
        *arguments: Of `main`.
        logs: The folder of what they write to standard output and error, `log-NUMBER.txt`.
        count: How many workers of one job they are; None for one that is none.
    """
    addresses = [f"127.0.0.1:{port}" for port in local_processes.free_ports(count or 0)]
    processes = []
    for index in range(count or 1):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = {"TF_CONFIG": json.dumps(task), "TF_NUM_INTRAOP_THREADS": "1"} if count else {}
        log = str(logs / f"log-{index}.txt")
        processes.append(_context.Process(target=_run, args=(main, arguments, variables, log)))
        processes[-1].start()
    return processes


def end(processes: list[multiprocessing.Process], seconds: float = SECONDS) -> list[int | None]:
    """Waits for the end of all; their exit codes."""
    try:
        for process in processes:
            process.join(seconds)
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run(main, arguments, variables, log):
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    signal.alarm(SECONDS)
    os.environ.update(variables)
    main(*arguments)
