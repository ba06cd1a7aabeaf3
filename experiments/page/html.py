"""The page: a table of results as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from experiments.common.settings import command, told_apart
from experiments.page.chart import MISSING, vega
from experiments.page.controls import controls_in_words
from experiments.page.data import script_data
from icl.controls import CONTROLS
from icl.environment import git_commit
from tasks.metrics.bootstrap import as_figure

PARTS = Path(__file__).parent
AUDITS = ("audit*.csv", "overlap*.csv")
"""Tables of leaks in the folder of runs, such as experiments.overlap writes."""

FIGURE = "figure"
"""Format of a metric, by `tasks.metrics.bootstrap.as_figure`."""

AUDIT_ROWS = 200
"""Rows of an audit on the page, at most."""

NAMED_TASKS = 3
"""Tasks that a title names, at most."""


@dataclass(frozen=True)
class Column:
    """A column of the table of runs.

    Attributes:
        name: Name of the column of results.
        title: Heading.
        form: Format of a number; empty for a text.
        interval: Whether an interval is written next to it.
    """

    name: str
    title: str
    form: str = ""
    interval: bool = False


SETTINGS = "settings"
"""Column of the options that no other column has, as far as they differ between the runs."""

SETUP = (
    Column("task", "Task"),
    Column("method", "Method"),
    Column(SETTINGS, "Settings"),
    Column("prompt_tokens", "Prompt tokens", ","),
    Column("shots", "Shots", ","),
    Column("tuning_samples", "Tuning samples", ","),
    Column("seed", "Seed", "d"),
    Column("split_seed", "Split seed", "d"),
)
"""What was asked for: a column where it differs, otherwise said once for all runs."""

IN_SETUP = {"prompt_tokens", "shots", "method.tuning_samples", "seed", "split_seed"}
"""Options that have a column."""

OUTCOME = (
    Column("accuracy", "Accuracy", FIGURE, interval=True),
    Column("clean_accuracy", "Accuracy on clean rows", FIGURE, interval=True),
    Column("gc_matched_accuracy", "GC-matched", FIGURE, interval=True),
    Column("auroc", "AUROC", FIGURE, interval=True),
    Column("trainable_parameters", "Trainable parameters", ","),
    Column("seconds", "Seconds", ",.0f"),
)


def page(
    frame: pd.DataFrame, *, title: str | None = None, folder: Path, skipped: Sequence[str] = ()
) -> str:
    """Return the whole page.

    Args:
        frame: Reports as `icl.results.load_results` returns them, at least one without a control.
        title: Heading of the page; by default it names the tasks.
        folder: Folder of the runs; its audits are on the page.
        skipped: A line for each damaged report.

    Raises:
        InputError: If the extra `page` is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise InputError(MISSING) from error

    specification, library = vega()
    said, problems = controls_in_words(frame)
    shared, differing = told_apart(list(frame["config"]), IN_SETUP)
    frame = frame.assign(**{SETTINGS: [line.replace("method.", "") for line in differing]})
    columns = [c for c in SETUP if _differs(frame, c.name)]
    columns += [c for c in OUTCOME if c.name in frame and frame[c.name].notna().any()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    from markupsafe import Markup

    return environment.get_template("page.html.jinja").render(
        title=title or _title(frame),
        summary=_summary(frame),
        skipped=skipped,
        said=said,
        problems=problems,
        controls=CONTROLS,
        audits=_audits(folder),
        alike=_alike(frame, columns, shared),
        columns=_headings(columns),
        rows=[_row(run, columns) for run in frame.to_dict("records")],
        versions=_versions(frame),
        version=metadata.version("genomic-icl"),
        commit=git_commit(),
        style=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        data=Markup(script_data(frame)),
        specification=Markup(specification),
        library=Markup(library),
        script=Markup((PARTS / "page.js").read_text(encoding="utf-8")),
    )


def _title(frame: pd.DataFrame) -> str:
    tasks = sorted(frame["task"].unique())
    if len(tasks) > NAMED_TASKS:
        return f"Runs on {len(tasks)} tasks"
    *others, last = tasks
    return f"Runs on {', '.join(others)} and {last}" if others else f"Runs on {last}"


def _differs(frame: pd.DataFrame, name: str) -> bool:
    """Return whether runs differ in what was asked for; no shots and 0 of them are the same."""
    values = frame[name].fillna(0) if name == "shots" else frame[name]
    return bool(values.nunique(dropna=False) > 1)


def _alike(frame: pd.DataFrame, columns: Sequence[Column], shared: str) -> list[str]:
    """Return what was asked for in all runs, a text each."""
    first = frame.iloc[0]
    said = [
        f"{column.title.lower()} {_text(first[column.name], column.form)}"
        for column in SETUP
        if column not in columns and column.name != SETTINGS and not pd.isna(first[column.name])
    ]
    return said + ([shared] if shared else [])


def _summary(frame: pd.DataFrame) -> str:
    counts = [
        _count(len(frame), "run"),
        _count(frame["task"].nunique(), "task"),
        _count(frame["method"].nunique(), "method"),
    ]
    controlled = int(frame["control"].notna().sum())
    more = f"; controls among the runs: {controlled:,}" if controlled else ""
    splits = " and ".join(sorted(frame["evaluated_on"].unique()))
    return f"{', '.join(counts)}{more}. Scored on the {splits} split."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _headings(columns: Sequence[Column]) -> list[dict[str, Any]]:
    middle = [{"title": c.title, "number": bool(c.form)} for c in columns]
    return [{"title": "Run", "number": False}, *middle]


def _row(run: Mapping[Any, Any], columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "name": Path(run["path"]).parent.name,
        "task": run["task"],
        "method": run["method"],
        "command": command(run["config"]),
        "cells": [_cell(run, column) for column in columns],
    }


def _cell(run: Mapping[Any, Any], column: Column) -> dict[str, Any]:
    value = run[column.name]
    missing = pd.isna(value)
    interval = None
    if column.interval and not missing:
        low, high = (run[f"{column.name}_{end}"] for end in ("low", "high"))
        interval = f"{as_figure(low)}–{as_figure(high)}"
    return {
        "kind": "number" if column.form else column.name,
        "text": "" if missing else _text(value, column.form),
        "value": f"{value:.6g}" if column.form and not missing else None,
        "interval": interval,
    }


def _text(value: Any, form: str) -> str:
    return as_figure(value) if form == FIGURE else format(value, form)


def _versions(frame: pd.DataFrame) -> dict[str, Any]:
    """Return what commit and libraries all runs share, and the others with their runs."""
    commits = frame["git_commit"].fillna("unknown").str[:12]
    table = pd.DataFrame(list(frame["versions"]), index=frame.index, dtype=object)
    table.insert(0, "commit", commits)
    table = table.fillna("unknown")
    alike = [name for name in table if table[name].nunique() == 1]
    words = table.drop(columns=alike).apply(
        lambda row: ", ".join(f"{name} {version}" for name, version in row.items()), axis=1
    )
    differs = len(alike) < len(table.columns)
    counts = dict(words.value_counts()) if differs else {}
    return {
        "alike": [f"{name} {table[name].iloc[0]}" for name in alike],
        "table": [{"runs": runs, "differing": text} for text, runs in counts.items()],
    }


def _audits(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted(file for pattern in AUDITS for file in folder.glob(pattern)):
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, nrows=AUDIT_ROWS)
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as e:
            raise InputError(f"{file}: is not a table that can be read ({e})") from e
        found.append(_audit(file.name, table))
    return found


def _audit(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """Return a table without empty columns; what is the same in all rows is in its title."""
    table = table.loc[:, (table != "").any()]
    alike = [column for column in table if len(table) > 1 and table[column].nunique() == 1]
    said = ", ".join(f"{column} {table[column].iloc[0]}" for column in alike)
    table = table.drop(columns=alike)
    return {
        "title": f"{name}: {said}" if said else name,
        "columns": list(table.columns),
        "rows": table.to_numpy().tolist(),
    }
