"""Many runs in one table: a row for each task, method and control, with means over seeds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from icl.reporting.report import REPORT, Report
from tasks.kinds import TASK_KINDS
from tasks.metrics.bootstrap import Estimate, mean_over_runs

if TYPE_CHECKING:
    import pandas as pd

SUMMARY = "summary.csv"
COLUMNS = (
    *("task", "kind", "method", "control", "k", "prompt_tokens", "shots", "metric"),
    *("value", "low", "high", "clean_value", "clean_low", "clean_high", "seeds"),
    *("n_train", "n_scored", "n_clean", "seconds", "reports"),
)
"""A row for each task, method, control and metric; `reports` are paths, separated by spaces."""

Run = tuple[Report, Path]
"""A report and the folder of its run."""


def comparison(runs: Sequence[Run]) -> "pd.DataFrame":
    """Return every metric of every task, method and control, with the columns COLUMNS.

    Intervals are those of `mean_over_runs`; clean metrics are on the rows without a relative.
    """
    import pandas as pd

    rows = []
    for one in _groups(runs):
        reports = [report for report, _ in one]
        first = reports[0].setup
        cleans = [r.outcome.clean_metrics for r in reports if r.outcome.clean_metrics]
        for metric in reports[0].outcome.metrics:
            mean = mean_over_runs([report.outcome.metrics[metric] for report in reports])
            clean = Estimate.undefined("")
            if cleans:
                clean = mean_over_runs([found[metric] for found in cleans])
            values = (
                *(first.task, first.kind, first.method, first.control),
                *(first.k, first.prompt_tokens, first.shots, metric),
                *(mean.value, mean.low, mean.high, clean.value, clean.low, clean.high),
                *(len(reports), first.n_train, first.n_scored, reports[0].outcome.n_clean),
                sum(report.environment.seconds for report in reports) / len(reports),
                " ".join(str(folder / REPORT) for _, folder in one),
            )
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ("k", "prompt_tokens", "shots", "n_scored", "n_clean")
    return table.astype(dict.fromkeys(whole, "Int64"))


def comparison_table(runs: Sequence[Run]) -> Table:
    """Return the main metrics of the kinds of these tasks, a section for each task."""
    kinds = dict.fromkeys(report.setup.kind for report, _ in runs)
    metrics = dict.fromkeys(name for kind in kinds for name in TASK_KINDS[kind].metrics)
    table = Table(caption="[95 % intervals over rows, and over seeds where there are several]")
    table.caption_justify = "left"
    for name in ("task", "method", "k", "seeds", *metrics):
        is_text = name in ("task", "method")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=is_text)
    before = None
    for one in _groups(runs):
        setup = one[0][0].setup
        if setup.task != before and before is not None:
            table.add_section()
        named = setup.method if setup.control is None else f"{setup.method}, {setup.control}"
        figures = [_figure(name, [report for report, _ in one]) for name in metrics]
        k = "" if setup.k is None else str(setup.k)
        task = setup.task if setup.task != before else ""
        table.add_row(task, named, k, str(len(one)), *figures)
        before = setup.task
    return table


def as_records(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each run as `--json` shows it: its setup, its metrics, and the path of its report."""
    asked = ("task", "method", "k", "prompt_tokens", "shots", "control", "seed", "n_train")
    return [
        {
            **{name: getattr(report.setup, name) for name in asked},
            "metrics": _ends(report.outcome.metrics),
            "clean_metrics": _ends(report.outcome.clean_metrics or {}),
            "report": str(folder / REPORT),
        }
        for report, folder in runs
    ]


def _ends(metrics: dict[str, Estimate]) -> dict[str, dict[str, float]]:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high}
        for name, one in metrics.items()
    }


def _groups(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Yield groups of runs that differ only in their seeds, in the order of their first run."""
    found: dict[tuple[object, ...], list[Run]] = {}
    for report, folder in runs:
        setup = report.setup
        key = (setup.task, setup.method, setup.control, setup.prompt_tokens, setup.shots)
        found.setdefault(key, []).append((report, folder))
    yield from found.values()


def _figure(metric: str, reports: Sequence[Report]) -> str:
    """Return a mean with its interval; empty for a metric of another kind of task."""
    values = [r.outcome.metrics[metric] for r in reports if metric in r.outcome.metrics]
    return str(mean_over_runs(values)) if values else ""
