"""The small table at the end of a run: this method beside the baselines that are on disk."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backbone.common.errors import InputError
from icl.controls import CONTROLS
from icl.reporting.clean_rows import leak_lines
from icl.reporting.report import REPORT, Report, read_report
from icl.reporting.verdict import Verdict, verdicts
from icl.scoring import SHOWN
from tasks.metrics.bootstrap import Estimate


def baselines(out: Path, reports: Sequence[Report]) -> list[Report]:
    """Finished runs of other methods without a budget, on the very same rows; one per method.

    Args:
        out: Folder of runs.
        reports: Runs of one method; of several baselines the one with the same seed is preferred.
    """
    first = reports[0]
    found: dict[str, Report] = {}
    for file in sorted((out / first.task).glob(f"*/*/{REPORT}")):
        try:
            other = read_report(file)
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        is_baseline = other.k is None and other.control is None and other.method != first.method
        if not is_baseline or not _same_rows(first, other):
            continue
        if other.method not in found or other.seed == first.seed:
            found[other.method] = other
    return sorted(found.values(), key=lambda r: r.metrics[SHOWN[r.kind][0]].value)


def summary_table(reports: Sequence[Report], others: Sequence[Report]) -> Table:
    """Rows of methods, columns of metrics with 95 % intervals."""
    first = reports[0]
    best = "" if first.best_accuracy is None else f", best possible {first.best_accuracy:.4f}"
    table = Table(
        title=f"{first.task}: {first.evaluated_on}, {_evaluated_rows(first)} rows{best}",
        title_justify="left",
        caption="[95 % intervals over rows]",
        caption_justify="left",
    )
    table.add_column("method", no_wrap=True)
    shown = SHOWN[first.kind]
    matched = ("GC-matched accuracy",) if first.kind == "classes" else ()
    for name in ("k", "seed", *shown, *matched):
        # Where a terminal is narrow, an interval goes below its value; a name is never cut.
        table.add_column(name, justify="right", no_wrap=name in ("k", "seed"))
    for number, report in enumerate([*reports, *others]):
        table.add_row(
            report.method if report.control is None else f"{report.method}, {report.control}",
            "" if report.k is None else str(report.k),
            str(report.seed),
            *(_interval(report.metrics[name]) for name in shown),
            *(_interval(report.gc_matched_accuracy) for _ in matched),
            style="bold" if number < len(reports) else None,
        )
    return table


def print_summary(out: Path, reports: Sequence[Report], folders: Sequence[Path]) -> None:
    """Print the table, what the controls say and where the reports are, to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(summary_table(reports, baselines(out, reports)))
    notes = reports[0].details.get("notes", [])  # how the task's files were read
    for line in [*notes, *leak_lines(reports), *control_lines(verdicts(reports, folders))]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for folder in folders:
        console.print(f"report: {folder / REPORT}", highlight=False, soft_wrap=True, markup=False)


def control_lines(found: Sequence[Verdict]) -> list[str]:
    """What every control says and what survival means for it; then what was compared."""
    if not found:
        return []
    lines = []
    for verdict in found:
        lines += [verdict.sentence, f"    {CONTROLS[verdict.control].survival}"]
    draws = found[0].draws
    source = "one seed, rows alone" if draws == 1 else f"{draws} seeds and rows together"
    return [*lines, f"Differences are of the same test rows; intervals: {source}."]


def _same_rows(one: Report, other: Report) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("data_sha256", "data_revision", "evaluated_on", "n_train")
    )


def _evaluated_rows(report: Report) -> int:
    return report.n_test if report.evaluated_on == "test" else report.n_val


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
