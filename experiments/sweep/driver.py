"""The parent of a sweep: creates the study, starts workers, shows their progress."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import optuna
from rich.console import Console

from backbone.common.errors import InputError
from backbone.common.files import write_text
from experiments.sweep.plan import Plan, Settings
from experiments.sweep.request import Request, cells_of
from experiments.sweep.storage import (
    claims,
    open_storage,
    reached,
    sweeps_folder,
    without_password,
)
from experiments.sweep.study import Cells, best, create, is_done
from experiments.sweep.table import describe, line, table
from experiments.sweep.worker import STORAGE, WorkerOptions

PAUSE = 0.5
"""Least seconds between two looks at how far the study is."""
SHARE = 0.05
"""Largest share of its time that the parent looks: the cores are for the runs."""
EVERY = 30.0
"""Seconds between two lines about it where the output is not a terminal."""
PATIENCE = 10.0
"""Seconds that a worker is given to end when it is told to do so at once."""
APART = 1_000_000
"""Between the cells of two chosen settings in the study of the test runs; their seeds count on."""

Process = subprocess.Popen[bytes]
Start = Callable[[WorkerOptions, int], Process]


def start_worker(options: WorkerOptions, number: int) -> Process:
    """Start `python -m experiments.sweep_worker` in a session of its own.

    The terminal's Ctrl-C then reaches the parent alone. The address of the database may hold a
    password, and is passed where other users of the machine cannot read it.
    """
    given = {one.name: getattr(options, one.name) for one in fields(options)}
    given |= {"number": number, "storage": None}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    log = log_file(options, number)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.sweep_worker", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, STORAGE: options.storage or ""},
            start_new_session=True,
        )


def sweep(request: Request, start: Start = start_worker) -> list[Path]:
    """Do a sweep to its end and return the paths of its tables.

    Args:
        request: The sweep.
        start: Starts the worker of a number.

    Raises:
        InputError: If nothing can be run as asked, the storage or a worker cannot work, or the
            study exists with another plan.
        SystemExit: With code 130 after Ctrl-C.
    """
    options, plan = request.options, request.plan
    cells, config = cells_of(request)
    folder = sweeps_folder(config.out)
    url = options.storage or os.environ.get(STORAGE) or f"sqlite:///{folder / 'sweeps.sqlite'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out={config.out}: cannot write there ({error.strerror})") from error
    name = options.study or f"{options.recipe or plan.mode}-{config.task.name}-{plan.digest()}"
    until = time.time() + (options.budget_seconds or math.inf)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reached(url), Interrupts() as interrupts:
        storage, claim = open_storage(url, create=True), claims(url, folder)

        def do(name: str, plan: Plan, cells: Mapping[int, Settings], until: float) -> Cells:
            study = create(name, storage, plan, claim)
            study.add(cells)
            print(f"study {name} in {without_password(url)}: {len(cells)} cells", flush=True)
            worker = WorkerOptions(
                name, url, config.data, config.out, until=until, parent=os.getpid()
            )
            with closing(Pool(start, worker, options.workers)) as pool:
                watch(study, pool, interrupts, until)
            write_text(folder / f"{name}.csv", table(study).to_csv(index=False))
            return study

        found = do(name, plan, cells, until).last()
        chosen = [] if plan.mode == "grid" else best(found, plan.objectives)
        for trial in chosen:
            print(f"chosen: {describe(trial, plan)}", flush=True)
        is_whole = is_done(found) or options.budget_seconds is not None
        if not (chosen and options.test_seeds and is_whole):
            return [folder / f"{name}.csv"]
        first = config.seed + config.seeds
        seeds = range(first, first + options.test_seeds)
        cells = {t.number * APART + n: {**t.params, "seed": n} for t in chosen for n in seeds}
        do(f"{name}-test", plan.for_test_rows(), cells, math.inf)
        return [folder / f"{name}.csv", folder / f"{name}-test.csv"]


def watch(study: Cells, pool: Pool, interrupts: Interrupts, until: float) -> None:
    """Keep workers at work until all cells are done, and show how far they are.

    Args:
        study: The study.
        pool: Its workers on this machine.
        interrupts: Counts Ctrl-C.
        until: When no further cell is taken, as `time.time` gives it.

    Raises:
        InputError: If a worker cannot work.
        SystemExit: With code 130 after Ctrl-C.
    """
    screen, is_told = Screen(), False
    while True:
        began = time.monotonic()
        study.revive()
        last = study.last()
        if is_done(last) or interrupts.count > 1:
            break
        screen.show(line(last, study.plan, datetime.now(), until))
        if interrupts.count and not is_told:
            screen.keep("stops after the running trials; Ctrl-C again stops at once")
            pool.interrupt()
            is_told = True
        if not is_told and time.time() < until:
            pool.fill()
        elif not pool.living():
            break
        interrupts.wait(max(PAUSE, (time.monotonic() - began) / SHARE))
    if interrupts.count > 1:
        pool.close()
        study.revive()
    screen.keep(line(study.last(), study.plan, datetime.now()))
    if interrupts.count:
        screen.keep("stopped; the same command resumes from here")
        raise SystemExit(130)


class Pool:
    """The workers of a study on this machine; one that was killed is replaced."""

    def __init__(self, start: Start, options: WorkerOptions, size: int) -> None:
        """Start none yet.

        Args:
            start: Starts the worker of a number.
            options: Of the workers.
            size: How many there shall be.
        """
        self._start, self._options, self._size = start, options, size
        self._workers: dict[int, Process] = {}

    def fill(self) -> None:
        """Start workers as long as there are too few.

        Raises:
            InputError: If one ended because it could not work.
        """
        for number in range(1, self._size + 1):
            worker = self._workers.get(number)
            code = None if worker is None else worker.poll()
            if code is not None and code > 0:
                log = log_file(self._options, number)
                raise InputError(f"worker {number} cannot work: {_last_line(log)} (see {log})")
            if worker is None or code is not None:
                self._workers[number] = self._start(self._options, number)

    def living(self) -> list[Process]:
        """Return the workers that live."""
        return [worker for worker in self._workers.values() if worker.poll() is None]

    def interrupt(self) -> None:
        """Let the workers stop after their running trial."""
        for worker in self.living():
            worker.send_signal(signal.SIGINT)

    def close(self) -> None:
        """End the workers at once."""
        for worker in self.living():
            worker.terminate()
        deadline = time.monotonic() + PATIENCE
        while self.living() and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in self.living():
            worker.kill()
        for worker in self._workers.values():
            worker.wait()


def log_file(options: WorkerOptions, number: int) -> Path:
    """Return where a worker's output is."""
    return sweeps_folder(options.out) / options.study / f"worker-{number}.log"


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return (text.strip().splitlines() or ["it printed nothing"])[-1].removeprefix("error: ")


class Interrupts:
    """How often Ctrl-C was pressed, a context in which it raises no KeyboardInterrupt."""

    def __init__(self) -> None:
        """Start at none."""
        self.count = 0

    def __enter__(self) -> Interrupts:
        """Count from here."""
        self._before = signal.signal(signal.SIGINT, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        """Count no longer."""
        signal.signal(signal.SIGINT, self._before)

    def _count(self, _signal: int, _frame: object) -> None:
        self.count += 1

    def wait(self, seconds: float) -> None:
        """Wait so long, or until Ctrl-C is pressed."""
        before, deadline = self.count, time.monotonic() + seconds
        while self.count == before and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))


class Screen:
    """Shows one line that changes: live on a terminal, else now and then."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._console = Console(stderr=True)
        self._clear = "\r\x1b[2K" if self._console.is_terminal else ""
        self._last, self._when = "", -EVERY

    def show(self, text: str) -> None:
        """Show the line as it is now."""
        if self._clear:
            text = f"{self._clear}{text[: self._console.width - 1]}"
            print(text, end="", file=sys.stderr, flush=True)
        elif text != self._last and time.monotonic() - self._when >= EVERY:
            print(text, file=sys.stderr, flush=True)
            self._last, self._when = text, time.monotonic()

    def keep(self, text: str) -> None:
        """Show a line that stays."""
        print(f"{self._clear}{text}", file=sys.stderr, flush=True)
