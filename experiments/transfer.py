"""How well a prompt of one task works on another: `python -m experiments.transfer runs=[DIR,DIR]`.

The method of every run scores the test rows of every run's task. The classes of two tasks
correspond only by their order, so the metric is the area under the ROC curve: 0.5 at chance, and
less if the classes are reversed. The accuracy is also given, with offsets fitted on validation rows
of the other task. The heat map groups tasks whose prompts work for each other. Two tasks may share
sequences, so the AUROC is also given on the rows that have no relative among the rows used to tune
the prompt.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.devices import device_option
from experiments.common.cells import Forecast
from experiments.common.command import run_command
from experiments.pictures.style import save
from experiments.pictures.transfer import draw_transfer
from icl.environment import prepare_arithmetic
from icl.explain.rows import splits_of
from icl.method import Method
from icl.predict import load_method
from icl.reporting.report import Report
from prompts.calibration import calibrate, fit_offset
from tasks.audit.kinship import NONE, find_kinship
from tasks.metrics.bootstrap import Estimate
from tasks.metrics.classification import evaluate
from tasks.task import Example, subset, truth


@dataclass
class Options:
    """Options of the command."""

    runs: list[str] = option([], "folders of finished runs, one for each task")
    data: str | None = option(None, "folder of tables; by default each run's own")
    rows: int = option(
        300, "maximum number of validation rows, and of test rows, per task", least=2
    )
    seed: int = option(0, "seed of the choice of rows", least=0)
    out: str = option("runs-transfer", "folder of the table and the figure")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)


@dataclass(frozen=True)
class Learned:
    """A finished run with rows of its task.

    Attributes:
        name: The task, and more where a task comes twice.
        method: The fitted method.
        report: Of the run.
        seen: All rows of training and validation.
        val: Validation rows that fit the offsets of other prompts.
        test: Test rows that are scored.
    """

    name: str
    method: Method
    report: Report
    seen: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]


def transfer(options: Options) -> list[Path]:
    """Score every task with every run, draw and write; return the paths of the files.

    Raises:
        InputError: If there are not two runs of classes, or one cannot be used.
    """
    if len(options.runs) < 2:
        raise InputError(
            f"runs: give the folders of at least two finished runs, not {len(options.runs)}"
        )
    prepare_arithmetic(options.threads, options.device)
    learned = _named([_load(folder, options) for folder in options.runs])
    forecast = Forecast((target.name,) for _ in learned for target in learned)
    rows: list[dict[str, object]] = []
    for number, source in enumerate(learned, start=1):
        print(f"[{number}/{len(learned)}] prompt of {source.name}{forecast}", file=sys.stderr)
        rows += _cells(source, learned, forecast)
    table = pd.DataFrame(rows)
    order = similarity_order(table)
    figure = draw_transfer(table, order, _facts(learned))
    return save(figure, table, "transfer", Path(options.out).expanduser())


def _load(folder: str, options: Options) -> Learned:
    method, report = load_method(Path(folder).expanduser(), device=options.device)
    if report.setup.kind != "classes":
        raise InputError(f"{folder}: is of {report.setup.kind}; give runs of classification tasks")
    train, *parts = splits_of(report, options.data)
    val, test = (subset(part, min(options.rows, len(part)), options.seed) for part in parts)
    return Learned(report.setup.task, method, report, [*train, *parts[0]], val, test)


def _named(learned: Sequence[Learned]) -> list[Learned]:
    """Return the runs with names of their own: the task, and more where a task comes twice."""
    names = [one.name for one in learned]
    found = []
    for number, one in enumerate(learned):
        name = one.name
        if names.count(name) > 1:
            setup = one.report.setup
            name = f"{name}, {setup.method}, seed {setup.seed} ({number})"
        found.append(replace(one, name=name))
    return found


def _cells(
    source: Learned, targets: Sequence[Learned], forecast: Forecast
) -> Iterator[dict[str, object]]:
    """Yield the figures of a run on the rows of every run's task; the forecast learns the time."""
    rows = [row for target in targets for row in target.test]
    relation = find_kinship(source.seen, [], rows).test_in_train
    ends = np.cumsum([len(target.test) for target in targets])
    for target, related in zip(targets, np.split(relation, ends[:-1]), strict=True):
        begin = time.monotonic()
        yield _cell(source, target, related == NONE)
        forecast.ran((target.name,), time.monotonic() - begin)


def _cell(source: Learned, target: Learned, is_clean: np.ndarray) -> dict[str, object]:
    """Return the figures of a run on the rows of another run's task.

    They are missing where the tasks have different numbers of classes.

    Args:
        source: The run.
        target: The run whose task gives the rows.
        is_clean: (N,) which of the target's test rows have no relative among those that the source
            has seen.
    """
    counts = {"n": len(target.test), "n_clean": int(is_clean.sum())}
    cell: dict[str, object] = {"prompt": source.name, "task": target.name, **counts}
    if len(source.report.setup.labels) != len(target.report.setup.labels):
        missing = Estimate.undefined("the tasks have different numbers of classes")
        return cell | _columns({"auroc": missing, "accuracy": missing, "clean_auroc": missing})
    source.method.check([*target.val, *target.test])
    offset = fit_offset(source.method.scores(target.val), truth(target.val))
    scores = calibrate(source.method.scores(target.test), offset)
    labels = truth(target.test)
    metrics = evaluate(labels, scores)
    clean = Estimate.undefined("no clean rows")
    if is_clean.any():
        clean = evaluate(labels[is_clean], scores[is_clean])["auroc"]
    shown = {"auroc": metrics["auroc"], "accuracy": metrics["accuracy"], "clean_auroc": clean}
    return cell | _columns(shown)


def _columns(metrics: Mapping[str, Estimate]) -> dict[str, object]:
    return {
        f"{name}{end}": value
        for name, one in metrics.items()
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
    }


def similarity_order(table: pd.DataFrame) -> list[str]:
    """Return the tasks in an order in which those whose prompts serve each other are neighbours.

    Two tasks are alike as far as their prompts tell the other's classes apart, whichever is which:
    average linkage with the best order of the leaves (Bar-Joseph et al. 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    wide = table.pivot(index="prompt", columns="task", values="auroc")
    names = list(table["prompt"].unique())
    useful = np.abs(2 * wide.loc[names, names].to_numpy(float) - 1)
    distance = 1 - np.nan_to_num((useful + useful.T) / 2)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [names[i] for i in leaves_list(tree)]


def _facts(learned: Sequence[Learned]) -> str:
    methods = sorted({one.report.setup.method for one in learned})
    most = max(len(one.test) for one in learned)
    return f"{', '.join(methods)} · up to {most} test rows a task · chance 0.5"


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.transfer", Options, transfer, arguments)


if __name__ == "__main__":
    sys.exit(main())
