"""The data of the page's script: a table of results as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.points import POINT, averaged, metrics_of, prepared
from experiments.common.settings import settings
from experiments.pictures.curve import AXES, facts, line_name, looks
from experiments.pictures.style import BEST, CHANCE, Look

SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
}
"""Markers of `experiments.pictures.style` by the names that Vega has for them."""

LINE_WIDTH, FLAT_WIDTH = 2.0, 1.4
"""Pixels, by which dashes are multiplied."""


def script_data(frame: pd.DataFrame) -> str:
    """Return points, single runs, looks and titles as JSON that can be put into a script element.

    Args:
        frame: Reports as `icl.results.load_results` returns them.
    """
    plain = prepared(frame)
    metrics = metrics_of(frame)
    budgets = [name for name in AXES if (plain[name] > 0).any()] or list(AXES)[:1]
    means = points(plain, metrics)
    numbers = {tuple(point[name] for name in POINT): n for n, point in enumerate(means)}
    data = {
        "metrics": metrics,
        "axes": [axis(name, plain, means) for name in budgets],
        "references": {"best": _look(BEST, FLAT_WIDTH), "chance": _look(CHANCE, FLAT_WIDTH)},
        "tasks": [_task(str(name), rows, metrics) for name, rows in plain.groupby("task")],
        "points": means,
        "runs": [one for one in _runs(plain, metrics, numbers) if one["point"] is not None],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # so that nothing in it can end the script


def axis(name: str, plain: pd.DataFrame, means: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a budget's title, the name of every point's line across it, and the lines' looks.

    Args:
        name: One of `experiments.pictures.curve.AXES`.
        plain: Runs as `experiments.common.points.prepared` returns them.
        means: As `points` returns them.
    """
    styles = looks(plain, name)
    return {
        "name": name,
        "title": AXES[name],
        "names": [line_name(pd.Series(point), name) for point in means],
        "lines": {
            line: _look(one, LINE_WIDTH) | {"shape": SHAPES[one.marker]}
            for line, one in styles.lines.items()
        },
        "flat": {line: _look(one, FLAT_WIDTH) for line, one in styles.flat.items()},
    }


def _look(one: Look, width: float) -> dict[str, Any]:
    return {"color": one.color, "dash": [round(width * part, 1) for part in one.dash]}


def points(plain: pd.DataFrame, metrics: list[str]) -> list[dict[str, Any]]:
    """Return means over seeds: an entry for each point, with [mean, low, high] of every metric.

    Args:
        plain: Runs as `experiments.common.points.prepared` returns them.
        metrics: Names of metrics.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for metric in metrics:
        if plain[metric].isna().all():
            continue
        for row in averaged(plain, metric).to_dict("records"):
            place = {name: _plain(row[name]) for name in POINT}
            entry = found.setdefault(
                tuple(place.values()),
                place | {"seeds": row["n_seeds"], "parameters": row["trainable_parameters"]},
            )
            entry[metric] = [_number(row[name]) for name in ("mean", "low", "high")]
    return list(found.values())


def _task(name: str, rows: pd.DataFrame, metrics: list[str]) -> dict[str, Any]:
    about = {metric: facts(rows, metric) for metric in metrics}
    first = about[metrics[0]]
    return {
        "name": name,
        "about": f"backbone {first.backbone}, {first.rows} {first.split} sequences",
        "best": {m: f.best for m, f in about.items() if f.best is not None},
        "chance": {m: f.chance for m, f in about.items() if f.chance is not None},
    }


def _runs(
    plain: pd.DataFrame, metrics: list[str], numbers: Mapping[tuple[Any, ...], int]
) -> Iterator[dict[str, Any]]:
    """Yield each run with the number of its point, which is None without any defined metric."""
    for row in plain.to_dict("records"):
        yield {
            "point": numbers.get(tuple(_plain(row[name]) for name in POINT)),
            "name": Path(row["path"]).parent.name,
            "seed": row["seed"],
            "settings": settings(row["config"]),
            **{m: [_number(row[f"{m}{end}"]) for end in ("", "_low", "_high")] for m in metrics},
        }


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
