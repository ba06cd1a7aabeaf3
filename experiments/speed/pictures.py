"""Pictures of costs: of a shared prompt, and of a training step against its length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.pictures.style import (
    FONT_SIZE,
    LINES,
    SPINE,
    decade_axis,
    doubling_axis,
    frame,
)
from experiments.speed.fits import MILLION, extrapolated, fits, seconds_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHASES = {"train": ("training step", LINES[0], "-"), "evaluate": ("evaluation", LINES[1], ":")}
"""Of each phase its name, its look, and its line where colours alone would tell phases apart."""

PATHS = {
    "ours": ("ours", LINES[0]),
    "published": ("operator as published", LINES[1]),
    "transformer": ("Transformer", LINES[2]),
}
"""Of each path its name and its look."""


def draw_prompt(table: pd.DataFrame) -> Figure:
    """Draw a table of `experiments.speed.prompt`: a column of panels for each width.

    Above is the plain path's time over the engine's, below the peak memory of both, each against
    the number of prompt tokens.
    """
    from matplotlib.figure import Figure

    widths = sorted(table["width"].unique())
    figure = Figure(figsize=(1.0 + 4.2 * len(widths), 7.0), layout="constrained")
    panels = figure.subplots(2, len(widths), squeeze=False, sharex=True, sharey="row")
    for column, width in enumerate(widths):
        rows = table[table["width"] == width].sort_values("prompt_tokens")
        compared = rows[rows["ratio"].notna()]
        above, below = panels[0][column], panels[1][column]
        for phase, lines in compared.groupby("phase"):
            name, style, dash = PHASES[str(phase)]
            tokens = lines["prompt_tokens"]
            marks = {"color": style.color, "marker": style.marker}
            above.plot(tokens, lines["ratio"], linestyle=dash, label=name, **marks)
            for way, line, fill in (("plain", "--", "none"), ("engine", "-", "full")):
                below.plot(
                    tokens, lines[f"peak_bytes_{way}"] / 1e9, linestyle=line, fillstyle=fill,
                    label=f"{name}, {way}", **marks,
                )  # fmt: skip
        above.axhline(1, color=SPINE, linewidth=1)
        above.set_title(f"width {width}, {rows['layers'].iloc[0]} layers", fontsize=FONT_SIZE + 1)
        _frame(above, "", "plain time / engine time" if column == 0 else "")
        memory = "peak memory of the process (GB)" if column == 0 else ""
        _frame(below, "prompt tokens", memory)
    if len(panels[0][0].lines) > 1:
        for axes in panels[:, 0]:
            axes.legend(frameon=False, fontsize=FONT_SIZE, loc="best")
    batches = " or ".join(str(batch) for batch in sorted(table["batch"].unique(), reverse=True))
    figure.suptitle(
        "A shared prompt, encoded once\n"
        f"{table['query_length'].iloc[0]}-base queries, batch {batches}, {table['device'].iloc[0]}",
        fontsize=FONT_SIZE + 1,
    )
    return figure


def draw_pretraining(table: pd.DataFrame) -> Figure:
    """Draw a table of `experiments.speed.pretrain`: seconds and peak memory against length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    slopes = fits(table).set_index("path")["exponent"]
    for path, group in table[table["seconds"].notna()].groupby("path", sort=False):
        name, style = PATHS[str(path)]
        slope = f", length^{slopes[path]:.2f}" if path in slopes else ""
        line = {**style.line, "markersize": 5}
        left.plot(group["length"], group["seconds"], label=f"{name}{slope}", **line)
        right.plot(group["length"], group["peak_bytes"] / 1e9, label=name, **line)
    end = extrapolated(table, "transformer", MILLION)
    last = table[(table["path"] == "transformer") & table["seconds"].notna()]["length"].max()
    start = None if end is None else seconds_of(table, "transformer", int(last))
    if end is not None and start is not None:
        style = PATHS["transformer"][1]
        left.plot(
            [last, MILLION],
            [start, end],
            color=style.color,
            linewidth=0.8,
            linestyle=(0, (1, 4)),
            marker=style.marker,
            fillstyle="none",
            markevery=[1],
            label="Transformer, extrapolated",
        )
    _frame(left, "length of the row (tokens)", "forward and backward pass (s)")
    _frame(right, "length of the row (tokens)", "peak memory of the process (GB)")
    for axes in (left, right):
        axes.tick_params(axis="x", labelsize=FONT_SIZE - 2)
    left.legend(frameon=False, fontsize=FONT_SIZE, loc="upper left")
    first = table.iloc[0]
    figure.suptitle(
        f"A training step on one row: width {first['width']}, {first['layers']} layers, "
        f"{first['dtype']}, {first['device']}",
        fontsize=FONT_SIZE + 1,
    )
    return figure


def _frame(axes: Axes, x: str, y: str) -> None:
    doubling_axis(axes)
    decade_axis(axes)
    frame(axes, x, y, grid="both")
