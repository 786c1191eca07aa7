"""The processes of a search: its chief, its workers, and those that are started on this machine.

KerasTuner's own distributed mode is the engine: `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
`KERASTUNER_ORACLE_PORT` say what a process is.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfvae.common.errors import InputError

if TYPE_CHECKING:
    from tfvae.tuning.oracles import DurableOracle

TUNER_ID, ORACLE_IP, ORACLE_PORT = VARIABLES = (
    "KERASTUNER_TUNER_ID",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
)

SIGNS, LOGS, LOCK = FILES = ("workers", "logs", ".lock")
"""What lies in the folder of a search before the search itself does."""

CHIEF_PATIENCE = 120.0
"""Seconds for which a worker waits for the chief to answer."""

SILENCE = 60.0
"""Seconds without a sign of life after which a worker counts as dead."""

_SECONDS_BETWEEN_SIGNS = 5.0
_MOST_DEATHS = 3
_LOCK_PATIENCE = 10.0

Role = Literal["alone", "chief", "worker"]


class ChiefLostError(InputError):
    """The chief went away; on one machine it is started again, and its workers after it."""


def role() -> Role:
    """What this process is, by KerasTuner's variables.

    Raises:
        InputError: If only some of the variables are set.
    """
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if ORACLE_IP in missing and ORACLE_PORT in missing:
        return "alone"
    if missing:
        raise InputError(
            f"{' and '.join(missing)} must be set where the other ones of {', '.join(VARIABLES)} "
            "are: a search over several processes needs all three in each of them"
        )
    return "chief" if "chief" in os.environ[TUNER_ID] else "worker"


def chief_address() -> str:
    """The host and the port of the chief."""
    return f"{os.environ[ORACLE_IP]}:{os.environ[ORACLE_PORT]}"


def wait_for_chief() -> None:
    """Waits until the chief answers.

    Raises:
        InputError: If it does not.
    """
    import grpc

    with grpc.insecure_channel(chief_address()) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CHIEF_PATIENCE)
        except grpc.FutureTimeoutError as error:
            raise InputError(
                f"no chief answers at {chief_address()} (waited {CHIEF_PATIENCE:.0f} s): start the "
                f"process whose {TUNER_ID} is chief first, and give its address in {ORACLE_IP} and "
                f"{ORACLE_PORT}"
            ) from error


@contextlib.contextmanager
def errors_of_chief_explained() -> Iterator[None]:
    """Turns the errors of calls to the chief into one that says what to do.

    Raises:
        ChiefLostError: If the chief went away.
    """
    import grpc
    from keras_tuner.src.distribute import oracle_client

    # KerasTuner's own limit is an hour.
    oracle_client.TIMEOUT = CHIEF_PATIENCE
    try:
        yield
    except grpc.RpcError as error:
        raise ChiefLostError(
            f"the chief at {chief_address()} went away ({error.code().name}): start it again with "
            "the same output, and then this worker; nothing that ended is lost"
        ) from error


@contextlib.contextmanager
def signs_of_life(folder: Path) -> Iterator[None]:
    """Lets the chief see that this worker lives, as long as the block runs.

    Args:
        folder: That of the search.
    """
    sign = folder / SIGNS / os.environ[TUNER_ID]
    sign.parent.mkdir(exist_ok=True)
    done = threading.Event()

    def give():
        while True:
            sign.touch()
            if done.wait(_SECONDS_BETWEEN_SIGNS):
                return

    sign.touch()
    thread = threading.Thread(target=give, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def silent_workers_forgotten(oracle: "DurableOracle", folder: Path) -> Iterator[None]:
    """Has the chief take back the trials of workers that have died, as long as the block runs.

    Args:
        oracle: That of the chief.
        folder: That of the search.
    """
    done = threading.Event()
    # By this machine's clock, as those of the workers may differ.
    signs: dict[str, tuple[float | None, float]] = {}

    def watch():
        while not done.wait(min(_SECONDS_BETWEEN_SIGNS, SILENCE / 4)):
            for tuner_id in {*oracle.ongoing_trials, *oracle.tuner_ids}:
                try:
                    sign = (folder / SIGNS / tuner_id).stat().st_mtime
                except OSError:
                    sign = None
                now = time.monotonic()
                if tuner_id not in signs or signs[tuner_id][0] != sign:
                    signs[tuner_id] = (sign, now)
                elif now - signs[tuner_id][1] > SILENCE:
                    del signs[tuner_id]
                    oracle.take_back(tuner_id)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps a second search out of a folder, as long as the block runs.

    Args:
        folder: That of the search.

    Raises:
        InputError: If one is running there.
    """
    give_up = time.monotonic() + _LOCK_PATIENCE
    with (folder / LOCK).open("w") as lock:
        while True:
            try:
                # Given back by the system whatever ends this process.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise InputError(
                        f"a search is running in {folder}: wait for its end, or choose another "
                        "output"
                    ) from error
                time.sleep(0.2)
        yield


def run_local(
    command: Sequence[str],
    num_workers: int,
    folder: Path,
    *,
    on_poll: Callable[[], None] = lambda: None,
) -> None:
    """Runs a search with a chief and workers on this machine, each a process of its own.

    The processors are divided between the workers. A worker that dies is started again, and gets
    its trial back; if it dies at the same trial again, that trial has failed. Whatever ends this
    process ends the others.

    Args:
        command: What each of them runs, with KerasTuner's variables set. It must call
            `end_with_parent` first.
        num_workers: How many workers.
        folder: That of the search; what the processes print goes to files in its `logs`.
        on_poll: Is called about once a second.

    Raises:
        InputError: If a process says that the input was wrong.
        RuntimeError: If one dies again and again.
    """
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    environment[ORACLE_IP] = "127.0.0.1"
    environment[ORACLE_PORT] = str(_free_port())
    threads = str(max(1, len(os.sched_getaffinity(0)) // num_workers))
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        environment.setdefault(name, threads)
    # Several of them may share a GPU.
    environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    names = ["chief", *(f"worker-{number}" for number in range(1, num_workers + 1))]
    processes: dict[str, subprocess.Popen] = {}
    deaths: Counter[str] = Counter()

    def start(name):
        variables = environment | {TUNER_ID: name}
        if name == "chief":
            variables["CUDA_VISIBLE_DEVICES"] = "-1"
        with _log(folder, name).open("ab") as log:
            processes[name] = subprocess.Popen(
                command,
                env=variables,
                # Its end is the sign that this process has ended.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this process, which passes on what it means.
                start_new_session=True,
            )

    try:
        for name in names:
            start(name)
        while any(processes[name].poll() != 0 for name in names[1:]):
            time.sleep(0.5)
            on_poll()
            for name in names:
                code = processes[name].poll()
                # A chief ends when all workers know that nothing is left to do.
                if code is None or code == 0:
                    continue
                if code == 2:
                    raise InputError(_last_line(folder, name))
                trial = _trial_of(folder, name)
                deaths[trial or name] += 1
                if trial and deaths[trial] == 2:
                    from tfvae.tuning.trials import write_failure

                    write_failure(
                        folder / f"trial_{trial}",
                        f"the process died twice at it, with {_said(code)}",
                    )
                if deaths[trial or name] >= _MOST_DEATHS:
                    raise RuntimeError(
                        f"the search's {name} died {_MOST_DEATHS} times, with {_said(code)}: see "
                        f"{folder / 'logs' / f'{name}.log'}"
                    )
                processes[name].stdin.close()
                start(name)
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
    on_poll()


def end_with_parent() -> None:
    """Ends this process when the one that started it by `run_local` ends, however that does."""

    def wait():
        # Not sys.stdin, whose lock would be in the way of the interpreter's own end.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _trial_of(folder, tuner_id):
    """The number of the trial that a worker is at, as the chief has written it."""
    try:
        state = json.loads((folder / "oracle.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return state["ongoing_trials"].get(tuner_id)


def _log(folder, name):
    return folder / LOGS / f"{name}.log"


def _last_line(folder, name):
    lines = _log(folder, name).read_text("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("tfvae: ") if lines else "it said nothing"


def _said(code):
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def main() -> None:
    """Runs what a process of a local search runs: `python -m tfvae.tuning.processes FOLDER`."""
    end_with_parent()
    from tfvae.tuning.search import continue_search

    try:
        continue_search(Path(sys.argv[1]))
    except InputError as error:
        print(f"tfvae: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, ChiefLostError) else 2)


if __name__ == "__main__":
    main()
