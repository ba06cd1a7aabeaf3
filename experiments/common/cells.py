"""Many runs one after another: shared options, time estimates and comparisons.

A cell is one run of a table. Runs with the same key differ only in their seeds and make one row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from backbone.common.errors import DoesNotFit, InputError
from backbone.common.files import write_text
from backbone.common.options import option, read_options
from backbone.devices import device_option
from icl.config.options import RunConfig
from icl.methods.catalog import METHODS
from icl.progress import Watch
from icl.reporting.report import correct_rows
from icl.rows import Divisions
from icl.run import Finished, run, shared_backbone
from tasks.kinds import TASK_KINDS
from tasks.registry import TaskConfig

Key = tuple[object, ...]
BACKBONES = 8
"""Backbones that are kept between runs."""

Table = dict[Key, list[Finished]]
"""Finished runs by the row of the table that they belong to."""


@dataclass
class RunOptions:
    """Options of every command that runs many cells, whatever their backbones."""

    folder: ClassVar[str] = "runs"
    """Folder of runs and of what is made of them where neither `runs` nor `out` is given."""

    recipe: str | None = option(None, "command line saved in a file, such as benchmark")
    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    runs: str | None = option(None, "folder of the runs; by default the folder of out=")
    out: str | None = option(None, "folder of tables and figures; by default the folder of runs=")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)
    minutes: float | None = option(None, "stop starting new runs after this many minutes", above=0)

    @property
    def run_folder(self) -> Path:
        """Folder in which finished runs are found and others are added."""
        return Path(self.runs or self.out or self.folder).expanduser()

    @property
    def out_folder(self) -> Path:
        """Folder of tables and pictures."""
        return Path(self.out or self.runs or self.folder).expanduser()


@dataclass
class CellOptions(RunOptions):
    """Options of every command that runs many cells on one backbone."""

    backbone: str = option("bundled", "checkpoint name or folder")


@dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
        key: Row of the table; runs of one key take about as long as each other.
        config: Resolved options of one run.
    """

    key: Key
    config: RunConfig

    @property
    def title(self) -> str:
        """Key and seeds as text."""
        parts = [str(part) for part in self.key if part is not None]
        seeds = [f"seed={self.config.seed}", f"split_seed={self.config.split_seed}"]
        return ", ".join([*parts, *seeds])


def configuration(
    options: RunOptions,
    task: TaskConfig,
    method: str,
    words: Sequence[str] = (),
    budgets: Mapping[str, int] | None = None,
    *,
    backbone: str,
) -> RunConfig:
    """Return the options of a run of a method on a task, not yet resolved.

    Args:
        options: What all runs share.
        task: Options of the task.
        method: Name of the method.
        words: Options of the method, as `NAME=VALUE`.
        budgets: The method's budget, by its name.
        backbone: Name or folder of its backbone.

    Raises:
        InputError: If the method or one of its options is unknown.
    """
    entry = METHODS.get(method)
    return RunConfig(
        task=task,
        method=replace(read_options(entry.config, words), name=method),
        k=None if entry.budget is None or budgets is None else budgets[entry.budget],
        data=options.data,
        out=str(options.run_folder),
        backbone=backbone,
        device=options.device,
        threads=options.threads,
    )


def run_cells(
    cells: Sequence[Cell],
    show: Callable[[str], None] = print,
    minutes: float | None = None,
    left_out: dict[Key, str] | None = None,
) -> Table:
    """Do all runs in their order; finished ones are not repeated.

    The rows of a task are read once for all runs that follow each other on it, and a backbone is
    loaded once.

    Args:
        cells: The runs.
        show: Called with two lines about every run.
        minutes: Time after which no further run is started, but for the first; finished ones are
            still read, and the next call does the rest.
        left_out: Takes the keys of runs whose rows or demonstrations do not fit, with the reason;
            without it the first such run is an error.

    Returns:
        The finished runs by key, each key's in their order.
    """
    clock = _Clock(None if minutes is None else time.monotonic() + 60 * minutes)
    watch, forecast = Watch(start=clock.start), Forecast(cell.key for cell in cells)
    read, load = Divisions(), lru_cache(BACKBONES)(shared_backbone)
    table: Table = {}
    waiting = 0
    for number, cell in enumerate(cells, start=1):
        if not clock.is_over:
            show(f"[{number}/{len(cells)}] {cell.title}{forecast}")
        try:
            (done,) = run(cell.config, watch, read, load)
        except OutOfTime:
            waiting += 1
        except DoesNotFit as reason:
            if left_out is None:
                raise
            left_out[cell.key] = str(reason)
            forecast.ran(cell.key, 0.0)
            show(f"    left out: {reason}")
        else:
            table.setdefault(cell.key, []).append(done)
            forecast.ran(cell.key, done.report.environment.seconds)
            if not clock.is_over:
                show(f"    {_result(done)}")
    if waiting:
        show(f"{waiting} runs are left; the same command continues with them")
    return table


def _result(done: Finished) -> str:
    """Return the first metric of a run, and whether it was there before."""
    metric = TASK_KINDS[done.report.setup.kind].metrics[0]
    known = " (finished before)" if done.was_there else ""
    return f"{metric} {done.report.outcome.metrics[metric]}{known}"


class OutOfTime(Exception):
    """No further run is to be started."""


@dataclass
class _Clock:
    """Stops runs from being started after `end`, but for the first."""

    end: float | None
    started: int = 0

    @property
    def is_over(self) -> bool:
        """Whether no further run is started."""
        return bool(self.started) and self.end is not None and time.monotonic() > self.end

    def start(self) -> None:
        if self.is_over:
            raise OutOfTime
        self.started += 1


class Forecast:
    """How long the remaining runs will take, from the last run of each key.

    A key that has not run yet counts as the mean of those that have.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        """Count the runs of each key."""
        self._left = Counter(keys)
        self._seconds: dict[Key, float] = {}
        self._unknown, self._known = self._left.total(), 0.0

    def ran(self, key: Key, seconds: float) -> None:
        """Take note that a run of a key took so many seconds."""
        if key in self._seconds:
            self._known -= self._seconds[key] * self._left[key]
        else:
            self._unknown -= self._left[key]
        self._left[key] -= 1
        self._seconds[key] = seconds
        self._known += seconds * self._left[key]

    @property
    def seconds(self) -> float | None:
        """How long it will take; None before the first run."""
        if not self._seconds:
            return None
        return self._known + self._unknown * sum(self._seconds.values()) / len(self._seconds)

    def __str__(self) -> str:
        """Return the end of a line; empty before the first run."""
        left = self.seconds
        return "" if left is None else f"; at most about {left / 60:.0f} min left"


def correct(runs: Sequence[Finished]) -> list[np.ndarray]:
    """Return whether each evaluated row was classified correctly, one array (N,) for each run."""
    return [correct_rows(done.folder) for done in runs]


def mean_seconds(runs: Sequence[Finished]) -> float:
    """Return how long a run took on average."""
    return sum(done.report.environment.seconds for done in runs) / len(runs)


def write_tables(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write text files, by their names, into a folder and return their paths.

    Raises:
        InputError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            write_text(folder / name, text)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    return [folder / name for name in contents]
