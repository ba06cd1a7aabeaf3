"""The table at the end of a run: this method and the baselines that were already run."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backbone.common.errors import InputError
from icl.controls import CONTROLS
from icl.reporting.clean_rows import leak_lines
from icl.reporting.report import REPORT, Report, read_report
from icl.reporting.verdict import Verdict, verdicts
from tasks.kinds import TASK_KINDS
from tasks.metrics.bootstrap import Estimate

GC_MATCHED = "GC-matched accuracy"


def baselines(out: Path, reports: Sequence[Report]) -> list[Report]:
    """Return finished runs of other methods without a budget, on the same rows; one per method.

    Args:
        out: Folder of runs.
        reports: Runs of one method; of several baselines the one with the same seed is preferred.
    """
    first = reports[0].setup
    found: dict[str, Report] = {}
    # The method's own runs can be thousands, and none of them is read.
    methods = (m for m in (out / first.task).glob("*") if m.name != first.method)
    for file in sorted(file for m in methods for file in m.glob(f"*/{REPORT}")):
        try:
            report = read_report(file)
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        other = report.setup
        is_baseline = other.k is None and other.control is None and other.method != first.method
        same_rows = all(
            getattr(first, name) == getattr(other, name)
            for name in ("data_sha256", "data_revision", "evaluated_on", "n_train")
        )
        if is_baseline and same_rows and (other.method not in found or other.seed == first.seed):
            found[other.method] = report
    return sorted(found.values(), key=_main_metric)


def summary_table(reports: Sequence[Report], others: Sequence[Report]) -> Table:
    """Return a table with one row per method and one column per metric, with 95 % intervals."""
    first = reports[0].setup
    whole = first.n_test if first.evaluated_on == "test" else first.n_val
    scored = whole if first.n_scored is None else first.n_scored
    rows = f"{scored}" if scored == whole else f"{scored} of {whole}"
    best = "" if first.best_accuracy is None else f", best possible {first.best_accuracy:.4f}"
    table = Table(
        title=f"{first.task}: {first.evaluated_on}, {rows} rows{best}",
        title_justify="left",
        caption="[95 % intervals over rows]",
        caption_justify="left",
    )
    table.add_column("method", no_wrap=True)
    for name in ("k", "seed", *_figures(reports[0])):
        # Where a terminal is narrow, an interval goes below its value; a name is never cut.
        table.add_column(name, justify="right", no_wrap=name in ("k", "seed"))
    for number, report in enumerate([*reports, *others]):
        table.add_row(
            _name(report),
            "" if report.setup.k is None else str(report.setup.k),
            str(report.setup.seed),
            *map(str, _figures(report).values()),
            style="bold" if number < len(reports) else None,
        )
    return table


def undefined_lines(reports: Sequence[Report]) -> list[str]:
    """Return why figures of the table, or their intervals, are not defined, one line per reason."""
    methods: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for name, figure in _figures(report).items():
            if not figure.has_interval:
                reason = figure.reason or "this version of the run did not record why"
                said = reason if figure.is_defined else f"not defined, {reason}"
                methods.setdefault((name, said), []).append(_name(report))
    return [
        f"{name} of {', '.join(dict.fromkeys(names))}: {said}"
        for (name, said), names in methods.items()
    ]


def print_summary(out: Path, reports: Sequence[Report], folders: Sequence[Path]) -> None:
    """Print the table, the verdicts of the controls and the paths of the reports."""
    console = terminal()
    others = baselines(out, reports)
    console.print(summary_table(reports, others))
    lines = [
        *reports[0].outcome.details.get("notes", []),  # on the task's files, and on the backbone
        *(one.outcome.details["advice"] for one in reports if "advice" in one.outcome.details),
        *undefined_lines([*reports, *others]),
        *leak_lines(reports),
        *control_lines(verdicts(reports, folders)),
        *(f"report: {folder / REPORT}" for folder in folders),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def terminal() -> Console:
    """Return the terminal, or a console of a fixed width where output goes elsewhere."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def control_lines(found: Sequence[Verdict]) -> list[str]:
    """Return each control's verdict and its interpretation; then what was compared."""
    if not found:
        return []
    lines = []
    for verdict in found:
        lines += [verdict.sentence, f"    {CONTROLS[verdict.control].survival}"]
    draws = found[0].draws
    source = "one seed, rows alone" if draws == 1 else f"{draws} seeds and rows together"
    return [*lines, f"Differences are of the same test rows; intervals: {source}."]


def _name(report: Report) -> str:
    asked = report.setup
    return asked.method if asked.control is None else f"{asked.method} ({asked.control})"


def _main_metric(report: Report) -> float:
    value = report.outcome.metrics[TASK_KINDS[report.setup.kind].metrics[0]].value
    return -math.inf if math.isnan(value) else value


def _figures(report: Report) -> dict[str, Estimate]:
    """Return the figures of a row of the table, by the names of their columns."""
    figures = {name: report.outcome.metrics[name] for name in TASK_KINDS[report.setup.kind].metrics}
    if report.setup.kind == "classes":
        figures[GC_MATCHED] = report.outcome.gc_matched_accuracy
    return figures
