"""The Pareto picture: what a metric costs, and which settings nothing else beats in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from experiments.pictures.curve import FONT_SIZE, LINES, line_name, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = {
    "seconds": "seconds of learning and scoring",
    "trainable_parameters": "trainable parameters",
    "prompt_tokens": "prompt tokens (learned vectors)",
}
"""What a point can cost, with the title of its axis."""


def front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Which points no other point beats: none costs as much or less and is better, or the reverse.

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
    """The points that have a cost, cheapest first, with the column `on_front`.

    Args:
        table: Points of one task, as `experiments.common.points.aggregate` returns them.
        cost: One of COSTS.

    Raises:
        InputError: For an unknown cost, or one that no point has.
    """
    if cost not in COSTS:
        raise InputError(f"cost={cost}: must be one of {', '.join(COSTS)}")
    known = table[table[cost].notna()].sort_values([cost, "mean"], ascending=[True, False])
    if known.empty:
        raise InputError(f"cost={cost}: no run has it")
    places = known[cost].to_numpy(float), known["mean"].to_numpy(float)
    return known.assign(on_front=front(*places)).reset_index(drop=True)


def draw_pareto(points: pd.DataFrame, cost: str = "seconds", title: str = "") -> Figure:
    """Draws points with their intervals, the front as steps, and the names of those on it.

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
        color, _, _ = LINES[number % len(LINES)]
        _, _, marker = LINES[(number + number // len(LINES)) % len(LINES)]  # a new pair each
        x, mean = rows[cost].to_numpy(float), rows["mean"].to_numpy(float)
        axes.vlines(x, rows["low"], rows["high"], color=color, alpha=0.4, linewidth=1.0)
        filled = np.where(rows["on_front"], color, "white")
        axes.scatter(x, mean, s=38, marker=marker, c=filled, edgecolors=color, zorder=3)
        axes.scatter([], [], s=38, marker=marker, c=color, label=str(method))
    best = points[points["on_front"]]
    reach = np.append(best[cost].to_numpy(float), points[cost].max())
    steps = np.append(best["mean"].to_numpy(float), best["mean"].max())
    axes.step(reach, steps, where="post", color="#404040", linewidth=1.2, zorder=2)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    metric = str(points["metric"].iloc[0]).replace("_", " ")
    axes.set_xlabel(COSTS[cost], fontsize=FONT_SIZE + 1)
    axes.set_ylabel(metric, fontsize=FONT_SIZE + 1)
    axes.tick_params(labelsize=FONT_SIZE)
    axes.set_title(title, fontsize=FONT_SIZE + 2, fontweight="bold", loc="left")

    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, -0.15),
        ncols=4,
        frameon=False,
        fontsize=FONT_SIZE,
        handletextpad=0.2,
    )

    bottom, top = axes.get_ylim()
    heights = (best["mean"].to_numpy(float) - bottom) / (top - bottom)
    places = spread(heights, 1.35 * FONT_SIZE / (4.8 * 0.76 * 72), 0.0, 1.0)
    for (_, row), height in zip(best.iterrows(), places, strict=True):
        axes.annotate(
            f"{row['mean']:.3f} {line_name(row, against='')}",
            xy=(row[cost], row["mean"]),
            xytext=(1.03, height),
            textcoords="axes fraction",
            fontsize=FONT_SIZE,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#808080", "linewidth": 0.5, "shrinkB": 4},
        )
    return figure
