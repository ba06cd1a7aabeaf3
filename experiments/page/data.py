"""What the page's script needs of a table of results, as JSON knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.points import POINT, averaged, metrics_of, prepared
from experiments.common.repeat import settings
from experiments.curve import facts
from experiments.pictures.curve import AXES

DIGITS = 4

LINES: tuple[tuple[str, list[int], str], ...] = (
    ("#0072B2", [], "circle"),
    ("#D55E00", [7, 3], "square"),
    ("#009E73", [7, 3, 2, 3], "triangle-up"),
    ("#000000", [2, 2], "diamond"),
    ("#CC79A7", [6, 2, 2, 2, 2, 2], "triangle-down"),
    ("#A66F00", [11, 3], "cross"),
)
"""Colour, dashes and marker of a line: Okabe and Ito's colours as in
`experiments.pictures.curve`."""

FLAT = (
    ("#4D4D4D", [8, 3]),
    ("#7A5195", [4, 2]),
    ("#7A5F17", [8, 3, 2, 3]),
    ("#47697E", [2, 2]),
    ("#9E4A5A", [12, 3, 3, 3]),
)
"""Colour and dashes of a baseline."""


def script_data(frame: pd.DataFrame) -> str:
    """The points, the single runs and what stands around them, as JSON that fits into a script.

    Args:
        frame: Reports as `icl.results.results` returns them.
    """
    plain = prepared(frame)
    metrics = metrics_of(frame)
    axes = [name for name in AXES if plain[name].notna().any()] or list(AXES)[:1]
    data = {
        "metrics": metrics,
        "axes": [{"name": name, "title": AXES[name]} for name in axes],
        "lines": [{"color": c, "dash": d, "shape": s} for c, d, s in LINES],
        "flat": [{"color": c, "dash": d} for c, d in FLAT],
        "tasks": [_task(str(name), rows, metrics) for name, rows in plain.groupby("task")],
        "points": points(plain, metrics),
        "runs": [_run(row, metrics) for row in plain.to_dict("records")],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # nothing in it can end the script


def points(plain: pd.DataFrame, metrics: list[str]) -> list[dict[str, Any]]:
    """Means over seeds: one entry a point, holding [mean, low, high] of every metric.

    Args:
        plain: Runs as `experiments.common.points.prepared` gives them.
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
    shown = about[metrics[0]]
    return {
        "name": name,
        "about": f"backbone {shown.backbone}, {shown.rows} {shown.split} sequences",
        "best": {m: f.best for m, f in about.items() if f.best is not None},
        "chance": {m: f.chance for m, f in about.items() if f.chance is not None},
    }


def _run(row: Mapping[Any, Any], metrics: list[str]) -> dict[str, Any]:
    return {
        **{name: _plain(row[name]) for name in POINT},
        "name": Path(row["path"]).parent.name,
        "seed": row["seed"],
        "settings": settings(row["config"]),
        **{m: [_number(row[f"{m}{end}"]) for end in ("", "_low", "_high")] for m in metrics},
    }


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), DIGITS)
