"""The picture of accuracy against length: one line for each method, baselines among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.style import (
    CHANCE,
    Label,
    baseline,
    doubling_axis,
    frame,
    look,
    write_labels,
    write_title,
)
from icl.methods.catalog import METHODS
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASIDE = 1.025
"""Factor between the places of two methods at one length, so that their bars can be told apart."""


def draw(table: pd.DataFrame, task: str, labels: Sequence[str], backbone: str) -> Figure:
    """Draw accuracy against length, with intervals; methods without a backbone are thinner.

    Args:
        table: As `experiments.lengths.tabulate` makes it.
        task: Name of the task, for the title.
        labels: Its classes.
        backbone: Name of the backbone, for the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.60, 0.72))
    frame(axes, "length of a window (bases)", "accuracy on the test split")
    ticks = sorted(set(table["length"]))
    doubling_axis(axes, ticks)
    axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
    chance = 1 / len(labels)
    low = min(chance, float(np.nanmin(table[["accuracy", "low"]].to_numpy(float))))
    axes.set_ylim(max(0.0, low - 0.04), 1.02)

    axes.axhline(chance, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1.0)
    written = [Label(f"chance {as_figure(chance)}", (axes.get_xlim()[1], chance), CHANCE.color)]
    methods = sorted(set(table["method"]))
    is_model = {method: METHODS.get(method).uses_backbone for method in methods}
    drawn = {True: 0, False: 0}
    for number, method in enumerate(methods):
        line = table[table["method"] == method].sort_values("length")
        values = [line[name].to_numpy(float) for name in ("length", "accuracy", "low", "high")]
        length, mean, bottom, top = values
        beside = length * ASIDE ** (number - (len(methods) - 1) / 2)
        style = (look if is_model[method] else baseline)(drawn[is_model[method]])
        drawn[is_model[method]] += 1
        axes.vlines(beside, bottom, top, color=style.color, linewidth=1.0, alpha=0.7)
        axes.plot(
            beside, mean, **style.line, markersize=6, linewidth=2.0 if is_model[method] else 1.2,
            markerfacecolor=style.color if is_model[method] else "white",
            markeredgecolor="white" if is_model[method] else style.color,
        )  # fmt: skip
        written.append(
            Label(f"{method} {as_figure(mean[-1])}", (beside[-1], mean[-1]), style.color)
        )
    write_labels(axes, written)
    facts = f"{', '.join(labels)} · backbone {backbone} · {_rows(table)}"
    write_title(figure, 0.09, f"{task}: accuracy against length", facts)
    return figure


def _rows(table: pd.DataFrame) -> str:
    """Say how many windows there are, and what the bars are."""
    fewest, most = table["divisions"].min(), table["divisions"].max()
    counted = f"{most}" if fewest == most else f"{fewest} to {most}"
    over = f"95 % over {counted} divisions" if most > 1 else "95 % over test rows"
    first = table.iloc[0]
    return f"{first['n_train']} training and {first['n_test']} test windows · bars: {over}"
