"""Many runs at once: a grid for a curve, or a search for settings.

`python -m experiments.sweep recipe=NAME task=TASK` takes the options of `python -m icl.run`, and
`space.OPTION=VALUES` for each option that differs between the runs. Its parent makes a study in
Optuna's storage and starts workers, which take one cell after the other; finished runs are not
repeated, whatever they were made for. A sweep that was stopped or killed goes on when it is started
again. A search looks at validation rows alone; what it chose is then run on test rows at seeds that
it has not seen. The table lies in the folder of the runs, beside what the workers said.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import help_text
from experiments.common.command import exit_code
from experiments.sweep.claims import Claim, claims
from experiments.sweep.crew import Crew, Interrupts, Process, started
from experiments.sweep.queue import Queue, best, create, is_done
from experiments.sweep.recipe import SPACE, Options, Request, read_request
from experiments.sweep.space import corners, grid
from experiments.sweep.storage import open_storage, reached, shown
from experiments.sweep.table import describe, line, table
from experiments.sweep.worker import STORAGE, WorkerOptions, claims_folder
from icl.config import options as run_options

PAUSE = 0.5
"""Least seconds between two looks at how far the study is."""
SHARE = 0.05
"""Most of its time that the parent looks: the cores are for the runs."""
EVERY = 30.0
"""Seconds between two lines about it, where it is not shown live."""
APART = 1_000_000
"""Between the first seeds of two chosen settings' cells in the study of the test runs."""

COMMAND = "python -m experiments.sweep"

Cells = Mapping[int, Mapping[str, Any]]
Start = Callable[[WorkerOptions, int], Process]


@dataclass(frozen=True)
class Ground:
    """What the studies of one sweep have in common.

    Attributes:
        url: Address of the database.
        storage: The database.
        claim: The claims of all who use it.
        folder: Of logs and tables.
        start: Starts a worker.
        until: Takes no trial after this time.
        interrupts: What the keyboard says.
    """

    url: str
    storage: optuna.storages.RDBStorage
    claim: Claim
    folder: Path
    start: Start
    until: float
    interrupts: Interrupts


def sweep(request: Request, start: Start | None = None) -> list[Path]:
    """Does a sweep to its end; returns the paths of its tables.

    Args:
        request: What the command line asks for.
        start: Starts a worker, in place of the usual way.

    Raises:
        InputError: If nothing can be run as asked, the storage cannot be reached, or the study is
            there with another plan.
    """
    options, plan = request.options, request.plan
    cells, title = checked_cells(request)
    folder = Path(request.out).expanduser() / "sweeps"
    url = options.storage or os.environ.get(STORAGE) or f"sqlite:///{folder / 'sweeps.sqlite'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out={request.out}: cannot write there ({error.strerror})") from error
    name = options.study or f"{options.recipe or plan.mode}-{title}-{plan.digest()}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reached(url), Interrupts().heard() as interrupts:
        storage = open_storage(url, options.heartbeat, create=True)
        claim = claims(storage.engine, claims_folder(request.out))
        begin = start or functools.partial(_start, url, folder)
        until = time.time() + (options.budget_seconds or float("inf"))
        ground = Ground(url, storage, claim, folder, begin, until, interrupts)
        queue = create(name, storage, plan, claim)
        print(f"study {name} in {shown(url)}: {len(cells)} cells", flush=True)
        is_whole = drive(queue, cells, request, ground)
        paths = [_written(queue, folder)]
        chosen = [] if plan.mode == "grid" else best(queue.cells(), plan.objectives)
        for trial in chosen:
            print(f"chosen: {describe(trial, plan)}", flush=True)
        if chosen and options.test_seeds and (is_whole or options.budget_seconds is not None):
            paths.append(measure(queue, chosen, request, ground))
        return paths


def checked_cells(request: Request) -> tuple[Cells, str]:
    """The cells of a sweep, by number, none for a cell that is drawn; and the task's name.

    Cells that are the same run, as of a method without the budget that differs, are one.

    Raises:
        InputError: If one of them, or an end of what is searched, is no configuration of a run.
    """
    plan = request.plan
    if plan.mode != "grid":
        configs = [plan.config(point, request.places) for point in corners(plan.space)]
        return {number: {} for number in range(request.options.trials)}, configs[0].task.name
    unique: dict[str, Mapping[str, Any]] = {}
    for cell in grid(plan.space):
        config = plan.config(cell, request.places)
        identity = [run_options.identity(config), config.backbone, config.seeds, config.controls]
        unique.setdefault(json.dumps(identity, sort_keys=True), cell)
    return dict(enumerate(unique.values())), config.task.name


def drive(queue: Queue, cells: Cells, request: Request, ground: Ground) -> bool:
    """Lets workers do all cells, and shows how far they are.

    Args:
        queue: The study.
        cells: By number their values, none where they are drawn.
        request: What was asked for.
        ground: Where all this happens.

    Returns:
        Whether all cells are done: not after `budget_seconds`.

    Raises:
        InputError: If a worker cannot work.
        SystemExit: With code 130 after Ctrl-C.
    """
    queue.add_cells(cells)
    words = WorkerOptions(
        study=queue.study_name,
        data=request.data,
        out=request.out,
        heartbeat=request.options.heartbeat,
        until=ground.until,
        leash=True,
    )
    logs = ground.folder / queue.study_name
    begin = functools.partial(ground.start, words)
    screen, is_told = Screen(), False
    with Crew(begin, request.options.workers, logs) as crew:
        while True:
            began = time.monotonic()
            queue.take_up()
            seen = queue.cells()
            if is_done(seen):
                break
            screen.show(line(seen, queue.plan, datetime.now(), ground.until))
            if ground.interrupts.count > 1:
                crew.end()
                break
            if ground.interrupts.count and not is_told:
                screen.end("ends after the running trials; Ctrl-C again ends at once")
                is_told = True
            if is_told or time.time() >= ground.until:
                crew.let_finish()
                if not crew.is_at_work():
                    break
            else:
                crew.keep_up()
            ground.interrupts.wait(max(PAUSE, (time.monotonic() - began) / SHARE))
        screen.end(line(queue.cells(), queue.plan, datetime.now()))
        if ground.interrupts.count:
            screen.end("stopped; the same command goes on from here")
            raise SystemExit(130)
        crew.let_finish()
    return is_done(queue.cells())


def measure(queue: Queue, chosen: Sequence[FrozenTrial], request: Request, ground: Ground) -> Path:
    """Runs what a search chose on test rows, once for each of some fresh seeds.

    Args:
        queue: The study of the search.
        chosen: Its trials.
        request: What was asked for.
        ground: Where all this happens.

    Returns:
        The path of the table.
    """
    plan = queue.plan.measured()
    first = request.seed + request.seeds
    fresh = range(first, first + request.options.test_seeds)
    cells = {
        trial.number * APART + seed: {**trial.params, "seed": seed}
        for trial in chosen
        for seed in fresh
    }
    test = create(f"{queue.study_name}-test", ground.storage, plan, ground.claim)
    print(f"on test rows: {len(cells)} cells", flush=True)
    drive(test, cells, request, replace(ground, until=float("inf")))
    return _written(test, ground.folder)


class Screen:
    """Shows one line that changes: live on a terminal, else now and then."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._console = Console(stderr=True)
        self._last, self._when = "", -EVERY

    def show(self, text: str) -> None:
        """Shows the line as it is now."""
        if self._console.is_terminal:
            print(
                f"\r\x1b[2K{text[: self._console.width - 1]}", end="", file=sys.stderr, flush=True
            )
        elif text != self._last and time.monotonic() - self._when >= EVERY:
            print(text, file=sys.stderr, flush=True)
            self._last, self._when = text, time.monotonic()

    def end(self, text: str) -> None:
        """Shows a line that stays."""
        live = "\r\x1b[2K" if self._console.is_terminal else ""
        print(f"{live}{text}", file=sys.stderr, flush=True)


def _start(url: str, folder: Path, options: WorkerOptions, number: int) -> Process:
    given = {one.name: getattr(options, one.name) for one in fields(options)}
    words = [f"{n}={v}" for n, v in given.items() if v is not None and n != "number"]
    return started(words, url, STORAGE, folder / options.study, number)


def _written(queue: Queue, folder: Path) -> Path:
    path = folder / f"{queue.study_name}.csv"
    write_text(path, table(queue).to_csv(index=False))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or {"-h", "--help"} & set(words):
        print(help_text(Options, COMMAND))
        print(f"  {SPACE + 'OPTION=VALUES':<32} values of an option of a run: [0,4,16], or")
        print(f"  {'':<32} uniform, log, int or logint of (low,high)")
        print(f"  {'OPTION=VALUE':<32} an option of all runs, as of python -m icl.run")
        return 0
    return exit_code(lambda: sweep(read_request(words)))


if __name__ == "__main__":
    sys.exit(main())
