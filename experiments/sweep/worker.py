"""A worker of a sweep: takes waiting cells one at a time until none is left.

Any number of workers can take part in a study. `python -m experiments.sweep` starts some on its own
machine. Start others on other machines, by hand or with one of Hydra's launchers, and give them the
same database (storage=, or the variable ICL_STORAGE, which keeps a password out of sight):

    python -m experiments.sweep_worker study=NAME storage=URL
    python -m experiments.sweep_worker -m study=NAME storage=URL number=1,2,3 \
        hydra/launcher=submitit_slurm hydra.sweep.dir=DIR

submitit_slurm (or submitit_local, to try it) comes with `pip install 'genomic-icl[slurm]'`, ray
with Hydra's plugin hydra-ray-launcher. The launcher writes the files for its jobs to DIR, which,
like the folder of runs (out=), must be shared by all machines. `python -m experiments.sweep` with
workers=0 creates the study, waits for its end and writes the table.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import optuna
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import aligned, option, option_lines
from experiments.sweep.plan import Plan
from experiments.sweep.storage import claims, open_storage, reached, sweeps_folder
from experiments.sweep.study import Attempt, is_done, join
from icl.config.hydra_cli import Command, launch
from icl.config.options import RunConfig
from icl.method import Progress
from icl.progress import Watch
from icl.reporting.report import Report
from icl.run import Finished, run
from tasks.kinds import TASK_KINDS

STORAGE = "ICL_STORAGE"
"""The variable that names the database where storage= is not given."""

PAUSE = 0.5
"""Seconds between two looks at whether a cell waits."""

Run = Callable[[RunConfig, Watch], list[Finished]]


@dataclass
class WorkerOptions:
    """Options of a worker."""

    study: str = option(MISSING, "name of the study")
    storage: str | None = option(None, f"database URL; falls back to the variable {STORAGE}")
    data: str | None = option(None, "folder of tables")
    out: str = option("runs", "folder in which runs are written")
    number: int = option(1, "number of this worker")
    until: float = option(math.inf, "start no run after this time, in seconds since 1970")
    parent: int | None = option(None, "process ID; the worker stops when that process ends")


class Stop:
    """Whether to take no further cell: after a deadline, a signal, or the end of the parent."""

    def __init__(self, until: float = math.inf, parent: int | None = None) -> None:
        """Set the deadline, as `time.time` gives it, and the id of the parent process."""
        self._until, self._parent = until, parent
        self._is_asked = False

    def __call__(self) -> bool:
        """Return whether to take no further cell."""
        is_orphan = self._parent is not None and os.getppid() != self._parent
        return self._is_asked or is_orphan or time.time() >= self._until

    def on_signals(self) -> None:
        """Stop after the running trial on Ctrl-C; at once on a second one, or on SIGTERM."""

        def stop(number: int, _frame: object) -> None:
            if number == signal.SIGTERM or self._is_asked:
                raise KeyboardInterrupt
            self._is_asked = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)


def work(options: WorkerOptions, stop: Callable[[], bool], do: Run = run) -> None:
    """Work on a study until no cell is open, not even one that another worker has now.

    Args:
        options: Of the worker.
        stop: Returns whether to take no further cell.
        do: Does the runs of a configuration.

    Raises:
        InputError: If the storage cannot be used or has no such study.
    """
    url = options.storage or os.environ.get(STORAGE)
    if url is None:
        raise InputError(f"storage= is missing; give it, or the variable {STORAGE}")
    places = [f"out={options.out}", *([] if options.data is None else [f"data={options.data}"])]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reached(url):
        claim = claims(url, sweeps_folder(options.out))
        cells = join(options.study, open_storage(url, create=False), claim)
        plan = cells.plan
        while not stop():
            attempt = cells.take()
            if attempt is not None:
                with attempt:
                    attempt.trial.set_user_attr("command", plan.command(attempt.cell))
                    watch = Watch(_Pruning(attempt, plan), claim)
                    _score(attempt, plan, do(plan.config(attempt.cell, places), watch))
                continue
            cells.revive()
            if is_done(cells.last()):
                return
            time.sleep(PAUSE)


def _score(attempt: Attempt, plan: Plan, finished: Sequence[Finished]) -> None:
    """Keep what the runs of a cell found, and the values of the objectives."""
    plain = [done for done in finished if done.report.setup.control is None]
    found = summary([done.report for done in plain])
    attempt.trial.set_user_attr("runs", [done.folder.name for done in plain])
    attempt.trial.set_user_attr("reused", all(done.was_there for done in plain))
    attempt.trial.set_user_attr("found", found)
    for name in plan.objectives:
        value = found.get(name)
        if value is None:
            known = [one for one in found if one.startswith("validation_")]
            raise InputError(
                f"objective {name} is {value}: cells cannot be compared by it; there are "
                f"{', '.join(known)}"
            )
        attempt.values.append(value)


class _Pruning:
    """Reports the objective after each epoch of a cell's first run, and prunes by it."""

    def __init__(self, attempt: Attempt, plan: Plan) -> None:
        self._attempt, self._plan = attempt, plan
        self._figure = plan.objectives[0].removeprefix("validation_")
        self._is_on = plan.pruner != "none"
        self._epoch = 0

    def __call__(self, progress: Progress) -> None:
        if progress.epoch <= self._epoch:
            self._is_on = False  # a further seed of the same cell
        self._epoch = progress.epoch
        figures = {"loss": progress.validation_loss, progress.metric: progress.validation}
        value = figures.get(self._figure)
        if not self._is_on or value is None:  # no other figure stands in for the objective
            return
        trial = self._attempt.trial
        if progress.epoch not in self._attempt.reported:
            trial.report(value, progress.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(
                f"validation {self._figure} {value:.4f} at epoch {progress.epoch} of "
                f"{progress.epochs}: behind earlier trials ({self._plan.pruner})"
            )


def summary(reports: Sequence[Report]) -> dict[str, float | None]:
    """Return the figures of a cell, means over its runs.

    They are the metrics, the first with its 95 % interval if there is one run, what can be an
    objective, and budgets.
    """
    rows = []
    for report in reports:
        setup, outcome = report.setup, report.outcome
        row: dict[str, float | None] = {name: one.value for name, one in outcome.metrics.items()}
        if len(reports) == 1:
            first = TASK_KINDS[setup.kind].metrics[0]
            row[f"{first}_low"] = outcome.metrics[first].low
            row[f"{first}_high"] = outcome.metrics[first].high
        row["gc_matched_accuracy"] = outcome.gc_matched_accuracy.value
        for name in dict.fromkeys(("accuracy", TASK_KINDS[setup.kind].validation, "loss")):
            row[f"validation_{name}"] = outcome.validation.get(name)
        row["prompt_tokens"], row["shots"] = setup.prompt_tokens, setup.shots
        row["trainable_parameters"] = outcome.trainable_parameters
        row["seconds"] = report.environment.seconds
        rows.append(row)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: _mean(values) for name, values in columns.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    """Return a mean, None where a value is not defined."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def job(cfg: DictConfig) -> None:
    """Run the worker that Hydra's configuration describes."""
    options = WorkerOptions(**{one.name: cfg[one.name] for one in fields(WorkerOptions)})
    stop = Stop(options.until, options.parent)
    stop.on_signals()
    work(options, stop)


COMMAND = Command(
    config_name="sweep_worker",
    schema=WorkerOptions,
    groups={},
    required=("study",),
    help_text=lambda words: "\n".join([__doc__ or "", *aligned(option_lines(WorkerOptions))]),
    job=job,
    register=lambda: ConfigStore.instance().store(name="sweep_worker", node=WorkerOptions),
)


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    return launch(COMMAND, arguments)
