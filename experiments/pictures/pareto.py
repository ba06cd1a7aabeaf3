"""The Pareto picture: a metric against its cost, and the settings on the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from experiments.pictures.curve import line_name
from experiments.pictures.style import FONT_SIZE, TICKS, Label, frame, look, write_labels
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = {
    "seconds": "time of learning and scoring (s)",
    "trainable_parameters": "trainable parameters",
    "prompt_tokens": "prompt tokens (learned vectors)",
}
"""Costs that the horizontal axis can show, each with its title."""


def front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return which points no other point dominates.

    A point is dominated by one that is no worse in cost and value and better in one of them.

    Args:
        cost: (N,) less is better.
        value: (N,) more is better.

    Returns:
        (N,) whether each point is on the Pareto front; equal points are on it together.
    """
    no_worse = (cost[None] <= cost[:, None]) & (value[None] >= value[:, None])
    better = (cost[None] < cost[:, None]) | (value[None] > value[:, None])
    return np.logical_not(np.any(no_worse & better, axis=1))


def pareto(table: pd.DataFrame, cost: str = "seconds") -> pd.DataFrame:
    """Return the points that have a cost, cheapest first, with the column `on_front`.

    Args:
        table: Points of one task, as `experiments.common.points.aggregate` returns them.
        cost: One of COSTS.

    Raises:
        InputError: If the cost is unknown, or no point has it.
    """
    if cost not in COSTS:
        raise InputError(f"cost={cost}: must be one of {', '.join(COSTS)}")
    known = table[table[cost].notna()].sort_values([cost, "mean"], ascending=[True, False])
    if known.empty:
        raise InputError(f"cost={cost}: no run has it")
    places = known[cost].to_numpy(float), known["mean"].to_numpy(float)
    return known.assign(on_front=front(*places)).reset_index(drop=True)


def draw_pareto(points: pd.DataFrame, cost: str = "seconds", title: str = "") -> Figure:
    """Draw points with their intervals, the front as steps, and the names of those on it.

    Args:
        points: As `pareto` returns them.
        cost: The same as there.
        title: Above the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

    figure = Figure(figsize=(9.0, 4.8))
    axes = figure.add_axes((0.09, 0.13, 0.56, 0.76))
    positive = points.loc[points[cost] > 0, cost]
    smallest = float(positive.min()) if len(positive) else 1.0
    axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    locator = SymmetricalLogLocator(base=10, linthresh=smallest, subs=[1.0, 2.0, 5.0])
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    for number, (method, rows) in enumerate(points.groupby("method", sort=True)):
        color, marker = look(number).color, look(number).marker
        x, mean = rows[cost].to_numpy(float), rows["mean"].to_numpy(float)
        axes.vlines(x, rows["low"], rows["high"], color=color, alpha=0.4, linewidth=1.0)
        filled = np.where(rows["on_front"], color, "white")
        axes.scatter(x, mean, s=38, marker=marker, c=filled, edgecolors=color, zorder=3)
        axes.scatter([], [], s=38, marker=marker, c=color, label=str(method))
    best = points[points["on_front"]]
    reach = np.append(best[cost].to_numpy(float), points[cost].max())
    steps = np.append(best["mean"].to_numpy(float), best["mean"].max())
    axes.step(reach, steps, where="post", color=TICKS, linewidth=1.2, zorder=2)
    metric = str(points["metric"].iloc[0]).replace("_", " ")
    frame(axes, COSTS[cost], metric)
    axes.set_title(title, fontsize=FONT_SIZE + 2, fontweight="bold", loc="left")
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, -0.15),
        ncols=4,
        frameon=False,
        fontsize=FONT_SIZE,
        handletextpad=0.2,
    )

    labels = []
    for _, row in best.iterrows():
        text = f"{as_figure(row['mean'])} {line_name(row, against='')}"
        labels.append(Label(text, (row[cost], row["mean"]), TICKS))
    write_labels(axes, labels, left=1.03)
    return figure
