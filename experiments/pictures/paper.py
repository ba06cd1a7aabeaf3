"""The figure that compares the paper with our results: a line per set, a marker per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.pictures.benchmark import method_looks
from experiments.pictures.style import FONT_SIZE, GRID, TICKS, Look, frame, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL = "HyenaDNA"
"""The paper's model that ours is compared with; the paper has baselines too."""

SET = ["table", "name", "metric", "context"]
"""What a figure of the paper is of."""

METRICS = {"mcc": "Matthews correlation", "macro_f1": "macro F1", "accuracy": "accuracy"}
PAPER = Look("#000000", (), "*")
OTHERS = ("X", "p", "h", "8", "d", "<", ">", "H")
"""Markers of the paper's other models, which are grey; ours have none of them."""

SHIFT = 0.11
"""Largest distance of a marker from its neighbour, in lines."""

SPAN = 0.72
"""Part of a line that the markers of our methods may take."""


def set_names(table: pd.DataFrame) -> pd.Series:
    """Return the name of the set of every row, with its context where it has one."""
    context = table["context"].fillna("").astype(str)
    return table["name"] + context.where(context == "", ", " + context)


def draw(table: pd.DataFrame) -> Figure:
    """Draw every set that has a figure of ours, with all the paper's models on it.

    Args:
        table: As `experiments.paper.beside` makes it, with at least one figure of ours.
    """
    from matplotlib.figure import Figure

    table = table.assign(name=set_names(table))
    ours = table[table["ours"].notna()]
    drawn = table[table["name"].isin(ours["name"]) & table["table"].isin(ours["table"])]
    methods = list(dict.fromkeys(ours["method"]))
    names = list(dict.fromkeys(drawn["name"]))
    lines = {name: float(len(names) - 1 - number) for number, name in enumerate(names)}
    inches = 1.75 + (0.3 + 0.1 * len(methods)) * len(names)
    figure = Figure(figsize=(9.6, inches))
    axes = figure.add_axes((0.24, 0.55 / inches, 0.73, 1 - 1.75 / inches))
    _paper(axes, drawn, lines)
    shift = min(SHIFT, SPAN / len(methods))
    for number, (method, (style, is_model)) in enumerate(method_looks(methods).items()):
        own = ours[ours["method"] == method].drop_duplicates(SET)
        height = own["name"].map(lines) + shift * ((len(methods) - 1) / 2 - number) - shift
        axes.errorbar(
            own["ours"], height, label=f"ours: {method}", color=style.color, marker=style.marker,
            xerr=(own["ours"] - own["low"], own["high"] - own["ours"]), linestyle="none",
            markersize=5, markerfacecolor=style.color if is_model else "white", elinewidth=1.0,
        )  # fmt: skip
    metrics = " or ".join(METRICS.get(name, name) for name in dict.fromkeys(drawn["metric"]))
    frame(axes, f"{metrics} (%)", grid="x")
    axes.spines["left"].set_visible(False)
    axes.set_yticks(list(lines.values()), list(lines), fontsize=FONT_SIZE, color=TICKS)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.5, len(names) - 0.5)
    for line in range(len(names) - 1):
        axes.axhline(line + 0.5, color=GRID, linewidth=0.8)
    figure.legend(
        loc="upper left", bbox_to_anchor=(0.01, 1 - 0.55 / inches), ncol=5, frameon=False,
        fontsize=FONT_SIZE - 0.5, handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip
    rows = f"{ours['n_train'].min():,.0f} to {ours['n_train'].max():,.0f}"
    write_title(
        figure, 0.015, f"The paper's results and ours on {len(names)} sets",
        f"paper: all weights tuned on all rows · ours: {rows} training rows, bars are 95 % · "
        "hollow: no backbone",
        top=1 - 0.26 / inches,
    )  # fmt: skip
    return figure


def _paper(axes: Axes, drawn: pd.DataFrame, lines: dict[str, float]) -> None:
    """Draw the paper's figures, which have no intervals, above ours on the line of their set."""
    models = [model for model in dict.fromkeys(drawn["model"]) if model != MODEL]
    markers = dict(zip(models, OTHERS, strict=False))
    for model in [MODEL, *models]:
        own = drawn[drawn["model"] == model].drop_duplicates(SET)
        is_theirs = model == MODEL
        axes.plot(
            own["percent"], own["name"].map(lines) + 0.36, label=f"paper: {model}",
            color=PAPER.color if is_theirs else "#8A8A8A", linestyle="none",
            marker=PAPER.marker if is_theirs else markers.get(model, "."),
            markersize=10 if is_theirs else 5.5, zorder=4 if is_theirs else 3,
        )  # fmt: skip
