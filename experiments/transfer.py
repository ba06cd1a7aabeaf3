"""What a prompt of one task is worth on another: `python -m experiments.transfer runs=[DIR,DIR]`.

Every run's method scores the test rows of every run's task. The classes of two tasks have nothing
in common but their order, so the figure is the area under the ROC curve, 0.5 by chance and below
where the classes are reversed; the accuracy is given too, with offsets fitted on validation rows of
the other task. Tasks whose prompts serve each other stand together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.devices import device_option
from experiments.common.command import run_command
from experiments.pictures.style import save
from experiments.pictures.transfer import draw_transfer
from icl.environment import prepare_arithmetic
from icl.explain.rows import splits_of
from icl.method import Method
from icl.predict import load_method
from icl.reporting.report import Report
from prompts.calibration import calibrate, fit_offset
from tasks.metrics.classification import evaluate
from tasks.task import Example, subset, truth


@dataclass
class Options:
    """Options of the command."""

    runs: list[str] = option([], "folders of finished runs, one for each task")
    data: str | None = option(None, "folder of tables; by default each run's own")
    rows: int = option(300, "most validation rows, and most test rows, of a task", least=2)
    seed: int = option(0, "seed of the choice of rows", least=0)
    out: str = option("runs-transfer", "folder of the table and the picture")
    device: str = device_option()
    threads: int = option(2, "CPU threads", least=1)


@dataclass(frozen=True)
class Learned:
    """A finished run with rows of its task."""

    name: str
    method: Method
    report: Report
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
    table = pd.DataFrame([_cell(source, target) for source in learned for target in learned])
    order = similarity_order(table)
    figure = draw_transfer(table, order, _facts(learned))
    return save(figure, table, "transfer", Path(options.out).expanduser())


def _load(folder: str, options: Options) -> Learned:
    method, report = load_method(Path(folder).expanduser(), device=options.device)
    if report.setup.kind != "classes":
        raise InputError(f"{folder}: is of {report.setup.kind}; give runs of classification tasks")
    _, *parts = splits_of(report, options.data)
    val, test = (subset(part, min(options.rows, len(part)), options.seed) for part in parts)
    return Learned(report.setup.task, method, report, val, test)


def _named(learned: Sequence[Learned]) -> list[Learned]:
    """Return the runs with names of their own: the task, and more where a task comes twice."""
    names = [one.name for one in learned]
    found = []
    for number, one in enumerate(learned):
        name = one.name
        if names.count(name) > 1:
            setup = one.report.setup
            name = f"{name}, {setup.method}, seed {setup.seed} ({number})"
        found.append(Learned(name, one.method, one.report, one.val, one.test))
    return found


def _cell(source: Learned, target: Learned) -> dict[str, object]:
    """Return the figures of a run on the rows of another run's task.

    They are missing where the tasks have different numbers of classes.
    """
    cell: dict[str, object] = {"prompt": source.name, "task": target.name, "n": len(target.test)}
    names = ("auroc", "accuracy")
    if len(source.report.setup.labels) != len(target.report.setup.labels):
        return cell | {f"{name}{end}": np.nan for name in names for end in ("", "_low", "_high")}
    source.method.check([*target.val, *target.test])
    offset = fit_offset(source.method.scores(target.val), truth(target.val))
    scores = calibrate(source.method.scores(target.test), offset)
    metrics = evaluate(truth(target.test), scores)
    for name in names:
        one = metrics[name]
        cell |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return cell


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
