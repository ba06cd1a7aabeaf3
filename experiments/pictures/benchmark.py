"""The picture of many tasks: a line a task, a marker a method, official beside clean test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.pictures.curve import FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "mcc"
"""What is drawn: 0 without any knowledge of the sequence, whatever the classes and their sizes."""

# Okabe and Ito's colours; the marker says the same in grey, and baselines are hollow.
MARKERS = (
    ("#7F7F7F", "|", False),
    ("#000000", "o", False),
    ("#D55E00", "s", False),
    ("#0072B2", "D", True),
    ("#009E73", "^", True),
    ("#CC79A7", "v", True),
    ("#E69F00", "P", True),
    ("#56B4E9", "X", True),
)
PANELS = (("value", "all test rows"), ("clean_value", "clean test rows: no relative in train"))
SHIFT = 0.09  # of a marker from its neighbour, in lines, so that equal values can be told apart


def draw(table: pd.DataFrame, backbone: str) -> Figure:
    """Draws the correlation of Matthews of every method on every task about classes.

    Args:
        table: As `experiments.benchmark.tabulate` makes it.
        backbone: What was frozen, for the title.
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
        for place, rows in enumerate(counts[name]):
            panel.text(
                1.03, place, f"{rows:,}", fontsize=FONT_SIZE - 2, color="#606060", va="center"
            )
        panel.text(
            1.03, len(best) - 0.3, "rows", fontsize=FONT_SIZE - 2, color="#606060", va="bottom"
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.subplots_adjust(left=0.19, right=0.95, top=1 - 1.0 / height, bottom=0.55 / height)
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0.185, 1 - 0.42 / height),
        ncol=len(names), frameon=False, fontsize=FONT_SIZE, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip
    figure.text(
        0.19, 1 - 0.25 / height,
        f"{len(best)} sets, at most {table['n_train'].max():,} training rows",
        fontsize=FONT_SIZE + 4, fontweight="bold",
    )  # fmt: skip
    figure.text(
        0.19, 1 - 0.42 / height,
        f"backbone {backbone} · mean of {table['seeds'].max()} seeds · lines: 95 % for other seeds "
        "and other test rows · hollow: no backbone",
        fontsize=FONT_SIZE - 0.5, color="#606060",
    )  # fmt: skip
    return figure


def _panel(axes: Axes, table: pd.DataFrame, tasks: list[str], column: str, title: str) -> None:
    place = {task: number for number, task in enumerate(tasks)}
    methods = list(dict.fromkeys(table["method"]))
    prefix = column.removesuffix("value")
    for number, method in enumerate(methods):
        color, marker, filled = MARKERS[number % len(MARKERS)]
        line = table[(table["method"] == method) & table[column].notna()]
        height = line["task"].map(place).astype(float) + SHIFT * ((len(methods) - 1) / 2 - number)
        value = line[column]
        axes.errorbar(
            value, height, label=method, color=color, marker=marker, linestyle="none",
            xerr=(value - line[f"{prefix}low"], line[f"{prefix}high"] - value),
            markersize=5.5, markerfacecolor=color if filled else "white", markeredgewidth=1.1,
            elinewidth=0.8, alpha=0.95,
        )  # fmt: skip
    axes.axvline(0, color="#7A7A7A", linestyle=":", linewidth=1.0)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=FONT_SIZE)
    axes.set_ylim(-0.6, len(tasks) - 0.4)
    axes.set_xlabel("Matthews correlation coefficient (0: chance)", fontsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", color="#404040")
    axes.grid(axis="y", color="#EDEDED", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=FONT_SIZE - 0.5, colors="#404040")
