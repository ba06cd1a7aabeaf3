"""What a large study costs its database and file system, with workers that only sleep.

A worker takes a cell, reports its epochs, sleeps as long as asked and tells how it ended, as
`experiments.sweep_worker` does around a run. What an operation takes is measured with cells that
wait in numbers from small to large, so that what grows with the study is seen; what a study of
`study` cells needs of the database is that time times their number, and `machines` is how many
machines one database serves if a cell takes `minutes`: an extrapolation, no measurement. The table
of reports is measured on copies of one report.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
from optuna.distributions import IntDistribution

from backbone.common.files import write_text
from experiments.speed.options import ScaleOptions
from experiments.sweep.plan import Plan
from experiments.sweep.storage import claims, open_storage
from experiments.sweep.study import Cells, create, join
from icl.reporting.report import REPORT, Report, find_reports
from icl.results import load_results
from tasks.metrics.bootstrap import Estimate

TAKE, REPORTED, TELL = "take a cell", "report an epoch", "tell its end"
ADD, LOOK = "add a cell", "look at all cells"


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        what: The operation.
        size: Cells of the study, or reports in the folder, when it was measured.
        count: How often it was done.
        ms: Elapsed milliseconds an operation, waiting for others included.
        cpu_ms: Processor time of the process that asks.
        hours: Elapsed hours for a study of the size asked for, one operation after another.
        machines: How many machines that sustains, if a cell takes as long as asked; None where
            operations do not wait for each other, or happen once.
    """

    what: str
    size: int
    count: int
    ms: float
    cpu_ms: float
    hours: float
    machines: float | None


def measure_all(options: ScaleOptions) -> Path:
    """Measure studies and folders of reports, write the table and return its path.

    Raises:
        InputError: If the database cannot be used, or the folder cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table, rows = Path(options.out) / "speed_scale.csv", []
    for row in _rows(options):
        rows.append(asdict(row))
        print(f"{row.what}, {row.size}: {row.ms:.3g} ms ({row.cpu_ms:.3g} of processor time)")
        write_text(table, pd.DataFrame(rows).to_csv(index=False, float_format="%.4g"))
    return table


def _rows(options: ScaleOptions) -> Iterator[Row]:
    for size in options.cells:
        with tempfile.TemporaryDirectory(prefix="scale-") as place:
            yield from _study(size, Path(place), options)
    for size in options.reports:
        with tempfile.TemporaryDirectory(prefix="scale-") as place:
            yield from _reports(size, Path(place), options)


def _study(size: int, place: Path, options: ScaleOptions) -> Iterator[Row]:
    """Yield the rows of a study with so many cells, all of which wait at first."""
    url = options.storage or f"sqlite:///{place / 'study.sqlite'}"
    name = f"scale-{size}-{time.time_ns()}"
    plan = Plan("grid", (), {"seed": IntDistribution(0, size - 1)})
    storage, claim = open_storage(url, create=True), claims(url, place)
    cells = create(name, storage, plan, claim)
    elapsed, used = _taken(lambda: cells.add({i: {"seed": i} for i in range(size)}))
    yield _row(ADD, size, size, elapsed, used, options)
    elapsed, used = _taken(lambda: join(name, open_storage(url, create=False), claim).last())
    yield _row(LOOK, size, 1, elapsed, used, options)
    context = multiprocessing.get_context("spawn")
    told = [(name, url, place, options)] * options.workers
    with context.Pool(options.workers) as pool:
        done = pool.starmap(_sleeps, told)
    for what in (TAKE, REPORTED, TELL):
        parts = [one[what] for one in done]
        count, elapsed, used = (sum(values) for values in zip(*parts, strict=True))
        if count:
            yield _row(what, size, int(count), elapsed, used, options)


Spent = dict[str, tuple[float, float, float]]
"""Number, elapsed seconds and processor seconds of each operation."""


def _sleeps(name: str, url: str, place: Path, options: ScaleOptions) -> Spent:
    """Take cells as a worker does, sleep in place of each run, and return what it took."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cells = join(name, open_storage(url, create=False), claims(url, place))
    spent: Spent = {what: (0.0, 0.0, 0.0) for what in (TAKE, REPORTED, TELL)}

    def timed(what: str, work: Callable[[], object]) -> None:
        elapsed, used = _taken(work)
        count, before, used_before = spent[what]
        spent[what] = (count + 1, before + elapsed, used_before + used)

    for _ in range(options.takes):
        _one(cells, options, timed)
    return spent


def _one(
    cells: Cells, options: ScaleOptions, timed: Callable[[str, Callable[[], object]], None]
) -> None:
    found = []
    timed(TAKE, lambda: found.append(cells.take()))
    attempt = found[0]
    if attempt is None:
        return
    attempt.__enter__()
    for epoch in range(1, options.epochs + 1):
        timed(REPORTED, partial(attempt.trial.report, 0.5, epoch))
    time.sleep(options.sleep)
    attempt.values.append(0.5)
    timed(TELL, lambda: attempt.__exit__(None, None, None))


def _reports(size: int, place: Path, options: ScaleOptions) -> Iterator[Row]:
    """Yield the rows of a folder with so many reports."""
    text = made_up_report().to_json()
    for number in range(size):
        write_text(place / "made_up" / "soft_prompt" / f"{number:012x}" / REPORT, text)
    elapsed, used = _taken(lambda: list(find_reports(place)))
    yield _row("find a report", size, size, elapsed, used, options)
    elapsed, used = _taken(lambda: load_results(place))
    yield _row("read a report into the table", size, size, elapsed, used, options)


def made_up_report() -> Report:
    """Return a report of the usual size."""
    estimate = Estimate(0.7, 0.68, 0.72)
    names = ("accuracy", "balanced_accuracy", "mcc", "macro_f1", "auroc", "ece")
    return Report.from_fields(
        dict(
            task="made_up", method="soft_prompt", k=16, prompt_tokens=16, shots=None,
            tuning_samples=None, control=None, seed=0, split_seed=0, backbone="bundled",
            labels=("no", "yes"), kind="classes", metrics=dict.fromkeys(names, estimate),
            validation={"accuracy": 0.7, "loss": 0.6}, details={}, gc_matched_accuracy=estimate,
            full_vocabulary_accuracy=None, best_accuracy=None, evaluated_on="test", n_train=700,
            n_val=100, n_test=1200, split_origin="made up", trainable_parameters=2050,
            seconds=60.0, peak_memory_bytes=1 << 30, device="cpu", threads=2,
            weights_sha256="a" * 64, data_sha256="d" * 64, data_revision=None, git_commit=None,
            versions={}, config={"task": {"name": "made_up"}, "method": {"name": "soft_prompt"}},
        )
    )  # fmt: skip


def _taken(work: Callable[[], object]) -> tuple[float, float]:
    """Return elapsed seconds and processor seconds of some work."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def _row(
    what: str, size: int, count: int, elapsed: float, used: float, options: ScaleOptions
) -> Row:
    each, times = elapsed / count, options.study
    if what == REPORTED:
        times *= options.epochs
    if what == LOOK:
        times = 1
    machines = None
    if what in (TAKE, TELL):
        # Only one process at a time holds the claim of a study.
        machines = options.minutes * 60 / each
    return Row(what, size, count, 1e3 * each, 1e3 * used / count, each * times / 3600, machines)
