"""A worker of a sweep: takes trials that wait, until there are none; any number may work at once.

`python -m experiments.sweep` starts workers on its own machine. On others, give them the same
database (storage=, or the variable ICL_STORAGE, which keeps a password out of sight), by hand or
by one of Hydra's launchers:

    python -m experiments.sweep_worker study=NAME storage=URL
    python -m experiments.sweep_worker -m study=NAME storage=URL number=1,2,3 \
        hydra/launcher=submitit_slurm hydra.sweep.dir=DIR

submitit_slurm (or submitit_local, to try it) comes with `pip install 'genomic-icl[slurm]'`, ray
with Hydra's plugin hydra-ray-launcher. DIR receives what the launcher hands to its jobs, and like
the folder of runs (out=) it must be one that all machines share. `python -m experiments.sweep`
with workers=0 makes the study, waits for its end and writes the table.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import optuna
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from backbone.common.errors import InputError
from backbone.common.options import option
from experiments.sweep.claims import Claim, claims
from experiments.sweep.queue import WHY, NothingWaitsError, Queue, is_done, join
from experiments.sweep.storage import open_storage, reached
from icl.config.hydra_cli import Command, launch, one_line
from icl.config.options import RunConfig
from icl.method import Progress
from icl.progress import Watch
from icl.reporting.report import Report
from icl.run import Finished, run
from icl.scoring import SHOWN, VALIDATION

STORAGE = "ICL_STORAGE"
"""The variable that names the database where storage= is not given."""

PAUSE = 0.5
"""Seconds between two looks at whether a trial waits again."""

Run = Callable[[RunConfig, Watch], list[Finished]]


@dataclass
class WorkerOptions:
    """What the command line can set."""

    study: str = option(MISSING, "its name")
    storage: str | None = field(
        default=None, metadata={"help": f"its database; falls back to the variable {STORAGE}"}
    )
    data: str | None = option(None, "folder of tables")
    out: str = option("runs", "folder in which runs are kept")
    heartbeat: int = option(15, "seconds between two signs of life", least=1)
    number: int = option(1, "of this worker, for a launcher to count")
    until: float = option(math.inf, "takes no trial after this time")
    leash: bool = option(False, "ends when standard input does")


class Stop:
    """Whether to take no further trial: after a deadline, a signal, or the end of a parent."""

    def __init__(self, until: float = math.inf) -> None:
        """Nothing has happened yet; `until` is a time as `time.time` gives it."""
        self._until = until
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether to take no further trial."""
        return self._asked.is_set() or time.time() >= self._until

    def ask(self) -> None:
        """Takes no further trial from now on."""
        self._asked.set()

    def hear_signals(self) -> None:
        """Ctrl-C once ends after the running trial; twice, or SIGTERM, at once."""

        def interrupted(_signal: int, _frame: object) -> None:
            if self._asked.is_set():
                raise KeyboardInterrupt
            self.ask()

        def terminated(_signal: int, _frame: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, terminated)

    def follow(self, handle: int) -> None:
        """Ends after the running trial when a pipe ends, which a parent's death does too."""

        def wait() -> None:
            while os.read(handle, 1):
                pass
            self.ask()

        threading.Thread(target=wait, daemon=True).start()


class _Explained:
    """Writes down why a trial failed; Optuna keeps no reason."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        is_known = isinstance(error, optuna.TrialPruned | optuna.exceptions.OptunaError)
        if isinstance(error, Exception) and not is_known:
            name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self._trial.set_user_attr(WHY, name + one_line(error))


@dataclass
class Objective:
    """Does the runs of a trial's cell and gives the objectives' values.

    Attributes:
        queue: The study.
        places: Words that say where data are and where runs go.
        claim: The claims of all processes.
        run: Does the runs of a configuration.
    """

    queue: Queue
    places: Sequence[str]
    claim: Claim
    run: Run = run

    def __call__(self, trial: optuna.Trial) -> Sequence[float]:
        """Does a trial.

        Raises:
            TrialPruned: If its validation score falls behind.
        """
        plan = self.queue.plan
        with _Explained(trial):
            cell = plan.suggested(trial)
            trial.set_user_attr("command", plan.command(cell))
            watch = Watch(_Pruning(trial, self.queue), self.claim)
            finished = self.run(plan.config(cell, self.places), watch)
            plain = [done for done in finished if done.report.setup.control is None]
            trial.set_user_attr("runs", [done.folder.name for done in plain])
            trial.set_user_attr("reused", all(done.was_there for done in plain))
            found = summary([done.report for done in plain])
            trial.set_user_attr("found", found)
            values = [found.get(name) for name in plan.objectives]
            if not all(value is not None and math.isfinite(value) for value in values):
                raise InputError(
                    f"{plan.objectives} = {values}: cannot be compared; there are "
                    f"{', '.join(name for name in found if name.startswith('validation_'))}"
                )
            return [float(value) for value in values if value is not None]


class _Pruning:
    """Tells Optuna the validation score of each epoch of a trial's first run."""

    def __init__(self, trial: optuna.Trial, queue: Queue) -> None:
        self._trial, self._queue = trial, queue
        self._is_on = queue.plan.pruner != "none"
        self._known = set(queue._storage.get_trial(trial._trial_id).intermediate_values)
        self._epoch = 0

    def __call__(self, progress: Progress) -> None:
        if progress.epoch <= self._epoch:
            self._is_on = False  # a further seed of the same cell
        self._epoch = progress.epoch
        if not self._is_on:
            return
        figures = {"loss": progress.validation_loss, progress.figure: progress.validation}
        (objective,) = self._queue.plan.objectives
        figure = objective.removeprefix("validation_")
        if figure not in figures:  # nothing else stands in for the objective's own figure
            return
        if progress.epoch not in self._known:
            self._trial.report(figures[figure], progress.epoch)
        if self._trial.should_prune():
            why = (
                f"validation {figure} {figures[figure]:.4f} at epoch {progress.epoch} "
                f"of {progress.epochs}: behind earlier trials ({self._queue.plan.pruner})"
            )
            self._trial.set_user_attr(WHY, why)
            raise optuna.TrialPruned(why)


def summary(reports: Sequence[Report]) -> dict[str, float | None]:
    """What the runs of one cell found, means over their seeds.

    Gives accuracy (AUROC of labels, Pearson of numbers) with its 95 % interval (of one run; absent
    of several), the other metrics, what can be an objective, and what the budget was.
    """
    rows = []
    for report in reports:
        row: dict[str, Any] = {name: one.value for name, one in report.outcome.metrics.items()}
        if len(reports) == 1:
            first = SHOWN[report.setup.kind][0]
            shown = report.outcome.metrics[first]
            row |= {f"{first}_low": shown.low, f"{first}_high": shown.high}
        row["gc_matched_accuracy"] = report.outcome.gc_matched_accuracy.value
        figures = dict.fromkeys(("accuracy", VALIDATION[report.setup.kind], "loss"))
        row |= {f"validation_{name}": report.outcome.validation.get(name) for name in figures}
        names = ("prompt_tokens", "shots", "trainable_parameters", "seconds")
        rows.append(row | {name: getattr(report, name) for name in names})
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def work(queue: Queue, objective: Objective, stop: Callable[[], bool]) -> None:
    """Takes and does trials until all cells are done, also those that other workers have now.

    Args:
        queue: The study.
        objective: Does one trial.
        stop: Whether to end after the running trial.
    """
    while not stop():
        queue.take_up()
        try:
            queue.optimize(objective, n_trials=1, catch=(Exception,))
        except NothingWaitsError:
            if is_done(queue.cells()):
                return
            time.sleep(PAUSE)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            # A worker that stood still for long finds its trial given to another one.
            if not queue.is_taken_from_us():
                raise


def worker(options: WorkerOptions, stop: Stop, do: Run = run) -> None:
    """Works on a study until it is done.

    Args:
        options: What the command line sets.
        stop: Whether to end before.
        do: Does the runs of a configuration.

    Raises:
        InputError: If the storage cannot be reached or has no such study.
    """
    url = options.storage or os.environ.get(STORAGE)
    if url is None:
        raise InputError(f"storage= is missing; give it, or the variable {STORAGE}")
    places = [f"out={options.out}", *([] if options.data is None else [f"data={options.data}"])]
    with reached(url):
        storage = open_storage(url, options.heartbeat, create=False)
        claim = claims(storage.engine, claims_folder(options.out))
        queue = join(options.study, storage, claim)
        work(queue, Objective(queue, places, claim, do), stop)


def claims_folder(out: str) -> Path:
    """Where the claims of runs in a folder are."""
    return Path(out).expanduser() / "sweeps" / "claims"


def job(cfg: DictConfig) -> None:
    """What Hydra composed, done."""
    options = WorkerOptions(**{one.name: cfg[one.name] for one in fields(WorkerOptions)})
    stop = Stop(options.until)
    stop.hear_signals()
    if options.leash:
        stop.follow(sys.stdin.fileno())
    worker(options, stop)


COMMAND = Command(
    config_name="sweep_worker",
    schema=WorkerOptions,
    groups={},
    required=("study",),
    help_text=lambda: __doc__ or "",
    job=job,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    ConfigStore.instance().store(name=COMMAND.config_name, node=WorkerOptions)
    launch(COMMAND, arguments)


if __name__ == "__main__":
    main()
