"""Contestants in processes of their own, of which one trains while the others wait."""

import contextlib
import importlib
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training_peers.problems import Data, Problem, Weights


class ContestantError(Exception):
    """A contestant cannot take part; says why."""


EPOCHS_A_TURN = 2
"""The last of them counts. The first pays for what a system took from a process that waited: some
took ten times as long."""


class Turns:
    """In the contestant's process: waits for its turn before the first epoch of it, and takes time.

    Either `for _ in turns:` around what trains an epoch, or `begin` and `end` called by it.
    """

    def __init__(self, connection, num_turns: int):
        self.num_epochs = EPOCHS_A_TURN * num_turns
        self._connection = connection
        self._num_done = 0
        self._idle_since = self._idle_cpu = 0.0

    def __iter__(self) -> Iterator[None]:
        for _ in range(self.num_epochs):
            self.begin()
            yield
            self.end()

    def begin(self) -> None:
        """Waits for the turn, where it has not begun."""
        if self._num_done % EPOCHS_A_TURN == 0:
            if not self._connection.recv():
                sys.exit()
            # What this process has computed while others had their turns.
            self._idle_cpu = time.process_time() - self._idle_since
        self._began = time.perf_counter()

    def end(self) -> None:
        """Hands over to the next, where the turn is over."""
        seconds = time.perf_counter() - self._began
        self._num_done += 1
        if self._num_done % EPOCHS_A_TURN == 0:
            self._idle_since = time.process_time()
            self._connection.send((seconds, self._idle_cpu))


class Contestant:
    """A process that trains when it is told to.

    Args:
        module: The module of this package whose `train` it runs.
        options: Further arguments of `train`.
        messages: A new file for what the process writes to its standard error: the libraries have
            much to say, which is of interest only if they fail.
    """

    def __init__(self, module: str, options: dict[str, Any], messages: Path):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self.messages = messages
        self._failure = None
        self._process = context.Process(
            target=_serve, args=(other, messages, module, options), daemon=True
        )
        self._process.start()
        other.close()

    def start(self, problem: Problem, data: Data, num_turns: int) -> None:
        """Prepares for the training, which begins with the first call of `turn`.

        Raises:
            ContestantError: If it failed before.
        """
        if self._failure:
            raise self._failure
        self._connection.send((problem, data, num_turns))

    def turn(self) -> tuple[float, float]:
        """Has its turn; seconds of the last epoch, and the processor's since the turn before.

        Raises:
            ContestantError: If it cannot.
        """
        with contextlib.suppress(OSError):  # What has failed says so when asked.
            self._connection.send(True)
        return self._receive()

    def finish(self) -> Weights | None:
        """The weights after the last epoch; None of what has none.

        Raises:
            ContestantError: If it cannot.
        """
        return self._receive()

    def stop(self) -> None:
        """Ends the process, which waits for what to do."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(timeout=10)
        self._process.terminate()

    def _receive(self):
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            answer = ContestantError(f"its process has ended ({self._process.exitcode})")
        if isinstance(answer, ContestantError):
            self._failure = answer
            raise answer
        return answer


def _serve(connection, messages, module, options):
    os.dup2(os.open(messages, os.O_WRONLY | os.O_CREAT), 2)
    while task := connection.recv():
        problem, data, num_turns = task
        try:
            train = importlib.import_module(f"training_peers.{module}").train
            trained = train(problem, data, Turns(connection, num_turns), **options)
        except ImportError as error:
            trained = ContestantError(str(error))
        except Exception as error:
            traceback.print_exc()
            first_line = str(error).strip().split("\n")[0]
            trained = ContestantError(f"{type(error).__name__}: {first_line}")
        connection.send(trained)
        if isinstance(trained, ContestantError):
            return
