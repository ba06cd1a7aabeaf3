"""The workers that a sweep starts on its own machine, and what it hears from the keyboard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from backbone.common.errors import InputError

PATIENCE = 10.0
"""Seconds that a worker is given to end when it is told to do so at once."""


class Process(Protocol):
    """What the crew needs of a worker; `subprocess.Popen` has it."""

    stdin: IO[bytes] | None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def terminate(self) -> None:
        """Tell it to end at once."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end."""


class Crew:
    """So many workers; one that was killed is replaced."""

    def __init__(self, start: Callable[[int], Process], size: int, logs: Path) -> None:
        """Starts none yet.

        Args:
            start: Starts the worker of a number, its standard input a pipe.
            size: How many there shall be.
            logs: Folder of what they say.
        """
        self._start, self._size, self._logs = start, size, logs
        self._workers: dict[int, Process] = {}

    def __enter__(self) -> Crew:
        """Gives itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Ends whoever is left."""
        self.end()

    def keep_up(self) -> None:
        """Starts workers as long as there are too few.

        Raises:
            InputError: If one ended because it could not work.
        """
        for number in range(1, self._size + 1):
            worker = self._workers.get(number)
            code = None if worker is None else worker.poll()
            if code is not None and code > 0:
                log = log_file(self._logs, number)
                raise InputError(f"worker {number} could not work: {_last_line(log)} (see {log})")
            if worker is None or code is not None:
                self._workers[number] = self._start(number)

    def is_at_work(self) -> bool:
        """Whether a worker lives."""
        return any(worker.poll() is None for worker in self._workers.values())

    def let_finish(self) -> None:
        """Tells the workers to end after their running trial."""
        for worker in self._workers.values():
            if worker.stdin is not None and not worker.stdin.closed:
                worker.stdin.close()

    def end(self) -> None:
        """Ends the workers at once."""
        self.let_finish()
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.terminate()
        deadline = time.monotonic() + PATIENCE
        while self.is_at_work() and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.kill()
            worker.wait()


def started(words: Sequence[str], storage: str, variable: str, logs: Path, number: int) -> Process:
    """Starts `python -m experiments.sweep_worker` in a session of its own.

    The terminal's Ctrl-C thus reaches the parent alone. The worker ends after its running trial
    when its standard input does: when the parent says so, or is dead.

    Args:
        words: Of its command line.
        storage: Address of the database, which other users of the machine shall not read in it.
        variable: The environment's that holds the address.
        logs: Folder of what it says.
        number: Of the worker.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with log_file(logs, number).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.sweep_worker", *words, f"number={number}"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, variable: storage},
            start_new_session=True,
        )


def log_file(logs: Path, number: int) -> Path:
    """What a worker says."""
    return logs / f"worker-{number}.log"


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it said nothing"
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"


class Interrupts:
    """How often Ctrl-C was pressed."""

    def __init__(self) -> None:
        """Not yet."""
        self.count = 0

    def wait(self, seconds: float) -> None:
        """Waits so long, or until Ctrl-C is pressed."""
        before, deadline = self.count, time.monotonic() + seconds
        while self.count == before and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    @contextmanager
    def heard(self) -> Iterator[Interrupts]:
        """Counts instead of raising KeyboardInterrupt."""

        def once_more(_signal: int, _frame: object) -> None:
            self.count += 1

        before = signal.signal(signal.SIGINT, once_more)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)
