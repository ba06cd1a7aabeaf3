"""The picture of a training step's cost: seconds and gigabytes against length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.speed.fits import MILLION, extrapolated, fits, seconds_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours; line style and marker repeat the distinction for print in grey.
STYLES = {
    "ours": ("#0072B2", "-", "o"),
    "published": ("#D55E00", "--", "s"),
    "transformer": ("#009E73", ":", "^"),
}
NAMES = {"ours": "ours", "published": "operator as published", "transformer": "Transformer"}


def draw(table: pd.DataFrame) -> Figure:
    """Draws a table of `experiments.speed.pretrain`: seconds of a step, and peak memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    slopes = fits(table).set_index("path")["exponent"]
    for path, group in table[table["seconds"].notna()].groupby("path", sort=False):
        color, style, marker = STYLES[str(path)]
        name = NAMES[str(path)]
        slope = f", length^{slopes[path]:.2f}" if path in slopes else ""
        look = {"color": color, "linestyle": style, "marker": marker, "markersize": 5}
        left.plot(group["length"], group["seconds"], label=f"{name}{slope}", **look)
        right.plot(group["length"], group["peak_bytes"] / 1e9, label=name, **look)
    end = extrapolated(table, "transformer", MILLION)
    last = table[(table["path"] == "transformer") & table["seconds"].notna()]["length"].max()
    start = None if end is None else seconds_of(table, "transformer", int(last))
    if end is not None and start is not None:
        color, _, marker = STYLES["transformer"]
        left.plot(
            [last, MILLION],
            [start, end],
            color=color,
            linewidth=0.8,
            linestyle=(0, (1, 4)),
            marker=marker,
            fillstyle="none",
            markevery=[1],
            label="Transformer, extrapolated",
        )
    left.set_ylabel("forward and backward pass (s)")
    right.set_ylabel("peak memory of the process (GB)")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel("length of the row (tokens)")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    first = table.iloc[0]
    figure.suptitle(
        f"A training step on one row: width {first['width']}, {first['layers']} layers, "
        f"{first['dtype']}, {first['device']}",
        fontsize=10,
    )
    return figure
