"""The picture of many tasks: one line per task, one marker per method, all and clean rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from backbone.common.errors import InputError
from experiments.pictures.style import (
    CHANCE,
    FONT_SIZE,
    NOTE,
    TICKS,
    Look,
    baseline,
    frame,
    look,
    write_title,
)
from icl.methods.catalog import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "mcc"
"""What is drawn: 0 without any knowledge of the sequence, whatever the classes and their sizes."""

PANELS = (("value", "all test rows"), ("clean_value", "clean test rows: no relative in train"))
SHIFT = 0.09
"""Distance of a marker from its neighbour, in lines, so that equal values can be told apart."""


def draw(table: pd.DataFrame, backbone: str) -> Figure:
    """Draw the Matthews correlation coefficient of every method on every classification task.

    Args:
        table: As `experiments.benchmark.tabulate` makes it.
        backbone: Name of the backbone, for the title.
    """
    from matplotlib.figure import Figure

    table = table[table["metric"] == METRIC]
    best = table.groupby("task")["value"].max().sort_values()
    height = 1.6 + 0.30 * max(len(best), 4)
    figure = Figure(figsize=(11.5, height))
    axes = figure.subplots(1, 2, sharey=True, sharex=True)
    for panel, (column, title) in zip(axes, PANELS, strict=True):
        _panel(panel, table, list(best.index), column, title)
    axes[0].set_xlim(min(-0.1, table[["low", "clean_low"]].min().min() - 0.02), 1.02)
    counts = table.groupby("task")[["n_test", "n_clean"]].max().loc[list(best.index)]
    for panel, name in zip(axes, counts, strict=True):
        small = {"fontsize": FONT_SIZE - 2, "color": NOTE}
        for place, rows in enumerate(counts[name]):
            panel.text(1.03, place, f"{rows:,}", va="center", **small)
        panel.text(1.03, len(best) - 0.3, "rows", va="bottom", **small)
    handles, names = axes[0].get_legend_handles_labels()
    figure.subplots_adjust(left=0.19, right=0.95, top=1 - 1.0 / height, bottom=0.55 / height)
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0.185, 1 - 0.42 / height),
        ncol=len(names), frameon=False, fontsize=FONT_SIZE, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip
    write_title(
        figure,
        0.19,
        f"{len(best)} sets, at most {table['n_train'].max():,} training rows",
        f"backbone {backbone} · mean of {_seeds(table)} · lines: 95 % over seeds and test rows · "
        "hollow: no backbone",
        top=1 - 0.19 / height,
    )
    return figure


def _seeds(table: pd.DataFrame) -> str:
    """Return how many seeds there are, as text."""
    least, most = table["seeds"].min(), table["seeds"].max()
    return f"{most} seeds" if least == most else f"{least} to {most} seeds"


def method_looks(methods: list[str]) -> dict[str, tuple[Look, bool]]:
    """Return for each method its look, and whether it uses a backbone."""
    found: dict[str, tuple[Look, bool]] = {}
    counts = {True: 0, False: 0}
    for method in methods:
        try:
            is_model = METHODS.get(method).uses_backbone
        except InputError:  # of another version
            is_model = True
        found[method] = (look if is_model else baseline)(counts[is_model]), is_model
        counts[is_model] += 1
    return found


def _panel(axes: Axes, table: pd.DataFrame, tasks: list[str], column: str, title: str) -> None:
    place = {task: number for number, task in enumerate(tasks)}
    methods = list(dict.fromkeys(table["method"]))
    prefix = column.removesuffix("value")
    for number, (method, (style, is_model)) in enumerate(method_looks(methods).items()):
        line = table[(table["method"] == method) & table[column].notna()]
        height = line["task"].map(place).astype(float) + SHIFT * ((len(methods) - 1) / 2 - number)
        value = line[column]
        axes.errorbar(
            value, height, label=method, color=style.color, marker=style.marker, linestyle="none",
            xerr=(value - line[f"{prefix}low"], line[f"{prefix}high"] - value),
            markersize=5.5, markerfacecolor=style.color if is_model else "white",
            markeredgewidth=1.1, elinewidth=0.8, alpha=0.95,
        )  # fmt: skip
    axes.axvline(0, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1.0)
    frame(axes, "Matthews correlation coefficient (0: chance)")
    axes.spines["left"].set_visible(False)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=FONT_SIZE)
    axes.set_ylim(-0.6, len(tasks) - 0.4)
    axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", color=TICKS)
    axes.tick_params(axis="y", length=0)
