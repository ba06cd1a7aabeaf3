"""The heat map: a metric over two budgets, such as shots and prompt tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.curve import AXES
from experiments.pictures.style import FONT_SIZE, INK, frame
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = (("prompt_tokens", "shots"), ("tuning_samples", "shots"))
"""Budgets that grids are drawn over: to the right, and upwards."""


def grids(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str, str]]:
    """Yield every grid of at least two by two cells in a table of points.

    Args:
        table: As `experiments.common.points.aggregate` returns it.

    Yields:
        Its name, its rows (of one task, method and variant) and the budgets across and upwards.
    """
    for across, upwards in PAIRS:
        both = table[table[across].notna() & table[upwards].notna()]
        others = [name for name in AXES if name not in (across, upwards)]
        for (method, variant, *_), rows in both.groupby(
            ["method", "variant", *others], dropna=False
        ):
            if min(rows[across].nunique(), rows[upwards].nunique()) > 1:
                name = ", ".join(str(part) for part in (method, variant) if part)
                yield name, rows, across, upwards


def heat_map(
    rows: pd.DataFrame, across: str = "prompt_tokens", upwards: str = "shots", title: str = ""
) -> Figure:
    """Draw the mean of each cell, written with half of its interval; darker is higher.

    The colours run from light to dark, so that print in greyscale keeps their order.

    Args:
        rows: Points of one task, method, variant and metric; a cell without one stays empty.
        across: Budget to the right, one of AXES.
        upwards: Budget upwards.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    means = rows.pivot(index=upwards, columns=across, values="mean").astype(float)
    halves = rows.assign(half=(rows["high"] - rows["low"]) / 2)
    half = halves.pivot(index=upwards, columns=across, values="half").to_numpy(float)
    height, width = means.shape
    figure = Figure(figsize=(2.2 + 0.78 * width, 1.6 + 0.52 * height))
    axes = figure.add_subplot()
    image = axes.imshow(means.to_numpy(), origin="lower", aspect="auto", cmap="Blues")
    low, high = np.nanmin(means.to_numpy()), np.nanmax(means.to_numpy())
    for (y, x), cell in np.ndenumerate(means.to_numpy()):
        value = float(cell)
        if np.isnan(value):
            continue
        is_dark = value > low + 0.6 * (high - low)
        axes.text(
            x,
            y,
            f"{as_figure(value)}\n± {as_figure(float(half[y, x]))}",
            ha="center",
            va="center",
            fontsize=FONT_SIZE - 1.5,
            color="white" if is_dark else INK,
        )
    frame(axes, AXES[across], AXES[upwards], grid="")
    axes.set_xticks(range(width), [f"{int(value):,}" for value in means.columns])
    axes.set_yticks(range(height), [f"{int(value):,}" for value in means.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=FONT_SIZE + 2, fontweight="bold", loc="left")
    metric = str(rows["metric"].iloc[0]).replace("_", " ")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(f"{metric} (mean ± half of the 95 % interval)", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1)
    bar.outline.set_visible(False)
    return figure
