"""The processes of a search: its chief, its workers, and all of them on this machine.

`KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`, which KerasTuner's own
distributed mode reads, say what a process is.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Literal

import grpc

from tfvae.common.errors import InputError, WorkerLostError
from tfvae.training.local_processes import free_ports, run_together

TUNER_ID, ORACLE_IP, ORACLE_PORT = VARIABLES = (
    "KERASTUNER_TUNER_ID",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
)
SECONDS_TO_WAIT_FOR_CHIEF = 120.0


def role() -> Literal["alone", "chief", "worker"]:
    """Tells what this process is; raises `InputError` if only some of the variables are set."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if ORACLE_IP in missing and ORACLE_PORT in missing:
        return "alone"
    if missing:
        raise InputError(
            f"{' and '.join(missing)} must be set: a search over several processes needs all of "
            f"{', '.join(VARIABLES)} in each of them"
        )
    return "chief" if "chief" in os.environ[TUNER_ID] else "worker"


@contextlib.contextmanager
def connected_to_chief() -> Iterator[None]:
    """Waits until the chief answers, and explains the errors of calls to it in the block."""
    address = f"{os.environ[ORACLE_IP]}:{os.environ[ORACLE_PORT]}"
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=SECONDS_TO_WAIT_FOR_CHIEF)
        yield
    except grpc.FutureTimeoutError as error:
        raise InputError(
            f"no chief answers at {address}: start the process whose {TUNER_ID} is chief, and give "
            f"its address in {ORACLE_IP} and {ORACLE_PORT}"
        ) from error
    except grpc.RpcError as error:
        raise WorkerLostError(
            f"the chief at {address} went away: start the same commands again to go on, that of "
            "the chief first; nothing that ended is lost"
        ) from error


def run_local(num_workers: int) -> None:
    """Runs this program again as a chief and as workers on this machine, until the workers end.

    When one process fails, or this one ends, so do all.
    """
    address = {ORACLE_IP: "127.0.0.1", ORACLE_PORT: str(free_ports(1)[0])}
    # No progress bars, which would cover each other.
    workers = [
        {**address, TUNER_ID: f"worker-{number}", "TERM": "dumb"}
        for number in range(1, num_workers + 1)
    ]
    chief = {**address, TUNER_ID: "chief", "CUDA_VISIBLE_DEVICES": "-1"}
    code = run_together([sys.executable, *sys.orig_argv[1:]], workers, chief)
    if code:
        raise WorkerLostError(
            f"a process of the search ended with exit code {code}: start the same command again to "
            "go on; nothing that ended is lost"
        )
