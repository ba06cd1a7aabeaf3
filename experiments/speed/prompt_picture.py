"""The picture of the prompt's cost: times faster and gigabytes, against prompt tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours; line style and marker repeat the distinction for print in grey.
STYLES = {
    ("train", "plain"): ("#0072B2", "--", "o"),
    ("train", "engine"): ("#0072B2", "-", "o"),
    ("evaluate", "plain"): ("#D55E00", "--", "s"),
    ("evaluate", "engine"): ("#D55E00", "-", "s"),
}


def draw(table: pd.DataFrame) -> Figure:
    """Draws a table of `experiments.speed.prompt`: a column of panels for each width.

    Above, the plain path's time over the engine's; below, the peak memory of both.
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
            color, _, marker = STYLES[str(phase), "engine"]
            above.plot(
                lines["prompt_tokens"],
                lines["ratio"],
                color=color,
                linestyle="-" if phase == "train" else ":",
                marker=marker,
                label=_name(str(phase)),
            )
            for way in ("plain", "engine"):
                color, style, marker = STYLES[str(phase), way]
                below.plot(
                    lines["prompt_tokens"],
                    lines[f"peak_bytes_{way}"] / 1e9,
                    color=color,
                    linestyle=style,
                    marker=marker,
                    fillstyle="none" if way == "plain" else "full",
                    label=f"{_name(str(phase))}, {way}",
                )
        above.axhline(1, color="#808080", linewidth=1)
        above.set_title(f"width {width}, {rows['layers'].iloc[0]} layers", fontsize=10)
        for axes in (above, below):
            _frame(axes)
        below.set_xlabel("prompt tokens")
    panels[0][0].set_ylabel("plain time / engine time")
    panels[1][0].set_ylabel("peak memory of the process (GB)")
    if len(panels[0][0].lines) > 1:
        for axes in panels[:, 0]:
            axes.legend(frameon=False, fontsize=8, loc="best")
    batches = " or ".join(str(batch) for batch in sorted(table["batch"].unique(), reverse=True))
    figure.suptitle(
        "A shared prompt, encoded once\n"
        f"{table['query_length'].iloc[0]}-base queries, batch {batches}, {table['device'].iloc[0]}",
        fontsize=10,
    )
    return figure


def _name(phase: str) -> str:
    return "training step" if phase == "train" else "evaluation"


def _frame(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    # Ticks at 1, 2, 5, 10 ... with plain numbers: a panel may span less than a power of ten.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
