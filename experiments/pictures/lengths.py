"""The picture of accuracy against length: one line a method, baselines among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.curve import BASELINES, FONT_SIZE, LINES, Label, write_labels
from icl.methods.catalog import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASIDE = 1.025
"""Factor between the places of two methods at one length, so that their bars can be told apart."""


def draw(table: pd.DataFrame, task: str, labels: Sequence[str], backbone: str) -> Figure:
    """Draws accuracy against length, with intervals; methods without a backbone are thinner.

    Args:
        table: As `experiments.lengths.tabulate` makes it.
        task: Name of the task, for the title.
        labels: Its classes.
        backbone: What was frozen, for the title.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.60, 0.72))
    axes.set_xscale("log", base=2)
    ticks = sorted(set(table["length"]))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
    chance = 1 / len(labels)
    low = min(chance, float(np.nanmin(table[["accuracy", "low"]].to_numpy(float))))
    axes.set_ylim(max(0.0, low - 0.04), 1.02)
    axes.set_xlabel("bases of a window", fontsize=FONT_SIZE + 1)
    axes.set_ylabel("accuracy on the test split", fontsize=FONT_SIZE + 1)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#808080")
    axes.tick_params(colors="#404040", labelsize=FONT_SIZE)

    axes.axhline(chance, color="#7A7A7A", linestyle=":", linewidth=1.0)
    written = [Label(f"chance {chance:.3f}", (axes.get_xlim()[1], chance), "#7A7A7A")]
    models, baselines = iter(LINES), iter((color, dashes, "x") for color, dashes in BASELINES)
    methods = sorted(set(table["method"]))
    for number, method in enumerate(methods):
        line = table[table["method"] == method].sort_values("length")
        values = [line[name].to_numpy(float) for name in ("length", "accuracy", "low", "high")]
        length, mean, bottom, top = values
        beside = length * ASIDE ** (number - (len(methods) - 1) / 2)
        is_model = METHODS.get(method).uses_backbone
        color, style, marker = next(models) if is_model else next(baselines)
        axes.vlines(beside, bottom, top, color=color, linewidth=1.0, alpha=0.7)
        axes.plot(
            beside, mean, color=color, linestyle=style, linewidth=2.0 if is_model else 1.2,
            marker=marker, markersize=6, markeredgecolor="white" if is_model else color,
        )  # fmt: skip
        written.append(Label(f"{method} {mean[-1]:.3f}", (beside[-1], mean[-1]), color))
    write_labels(axes, written)
    _title(figure, table, task, labels, backbone)
    return figure


def _title(
    figure: Figure, table: pd.DataFrame, task: str, labels: Sequence[str], backbone: str
) -> None:
    fewest, most = table["divisions"].min(), table["divisions"].max()
    counted = f"{most}" if fewest == most else f"{fewest} to {most}"
    over = f"95 % over {counted} divisions" if most > 1 else "95 % bootstrap over test rows"
    lines = (
        (0.95, f"{task}: accuracy against length", FONT_SIZE + 4, "bold", "#000000"),
        (
            0.905,
            f"{', '.join(labels)} · backbone {backbone} · {table['n_train'].iloc[0]} training and "
            f"{table['n_test'].iloc[0]} test windows · bars: {over}",
            FONT_SIZE - 0.5,
            "normal",
            "#606060",
        ),
    )
    for height, text, size, weight, color in lines:
        figure.text(0.09, height, text, fontsize=size, fontweight=weight, color=color)
