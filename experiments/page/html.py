"""The page: a table of results as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from backbone.common.errors import InputError
from experiments.common.settings import command
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


COLUMNS = (
    Column("task", "Task"),
    Column("method", "Method"),
    Column("control", "Control"),
    Column("prompt_tokens", "Prompt tokens", ","),
    Column("shots", "Shots", ","),
    Column("tuning_samples", "Tuning samples", ","),
    Column("seed", "Seed", "d"),
    Column("split_seed", "Split seed", "d"),
    Column("accuracy", "Accuracy", FIGURE, interval=True),
    Column("clean_accuracy", "Accuracy on clean rows", FIGURE, interval=True),
    Column("n_clean", "Clean rows", ","),
    Column("gc_matched_accuracy", "GC-matched", FIGURE, interval=True),
    Column("auroc", "AUROC", FIGURE, interval=True),
    Column("trainable_parameters", "Trainable parameters", ","),
    Column("seconds", "Seconds", ",.0f"),
)


def page(frame: pd.DataFrame, *, title: str, folder: Path, skipped: Sequence[str] = ()) -> str:
    """Return the whole page.

    Args:
        frame: Reports as `icl.results.load_results` returns them, at least one without a control.
        title: Heading of the page.
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
    columns = [c for c in COLUMNS if _is_shown(frame, c.name)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    from markupsafe import Markup

    return environment.get_template("page.html.jinja").render(
        title=title,
        summary=_summary(frame),
        skipped=skipped,
        said=said,
        problems=problems,
        controls=CONTROLS,
        audits=_audits(folder),
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


def _is_shown(frame: pd.DataFrame, name: str) -> bool:
    """Return whether a column has values and, for the division of the rows, different ones."""
    if name == "split_seed":
        return frame[name].nunique() > 1
    return name in frame and bool(frame[name].notna().any())


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
    return [{"title": "Run", "number": False}, *middle, {"title": "Command", "number": False}]


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
        "number": bool(column.form),
        "text": "" if missing else _text(value, column.form),
        "value": f"{value:.6g}" if column.form and not missing else None,
        "interval": interval,
    }


def _text(value: Any, form: str) -> str:
    return as_figure(value) if form == FIGURE else format(value, form)


def _versions(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return every combination of commit and libraries, most frequent first."""
    libraries = frame["versions"].map(
        lambda versions: ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    commits = frame["git_commit"].fillna("unknown")
    both = pd.DataFrame({"commit": commits, "libraries": libraries})
    return both.value_counts().rename("runs").reset_index().to_dict("records")


def _audits(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted(file for pattern in AUDITS for file in folder.glob(pattern)):
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, nrows=AUDIT_ROWS)
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as e:
            raise InputError(f"{file}: is not a table that can be read ({e})") from e
        found.append(
            {"name": file.name, "columns": list(table.columns), "rows": table.to_numpy().tolist()}
        )
    return found
