"""The picture of the context gain: bits per base saved against the number of windows in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from experiments.pictures.style import (
    CHANCE,
    FONT_SIZE,
    Label,
    frame,
    look,
    write_labels,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(table: pd.DataFrame) -> Figure:
    """Draw the gain with its intervals, one panel a stream and one line a backbone.

    Args:
        table: As `experiments.context_gain.measure` makes it.
    """
    from matplotlib.figure import Figure

    streams = list(dict.fromkeys(table["stream"]))
    height = 0.9 + 2.3 * len(streams)
    figure = Figure(figsize=(8.0, height))
    panels = figure.subplots(len(streams), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.11, right=0.74, top=1 - 0.95 / height, bottom=0.55 / height)
    for stream, axes in zip(streams, panels, strict=True):
        _panel(axes, table[table["stream"] == stream], stream)
    panels[-1].set_xlabel("related windows in front of the query", fontsize=FONT_SIZE + 1)
    first = table.iloc[0]
    facts = (
        f"{first['queries']} windows of {first['bases']} bases from held-out regions · bars: 95 % "
        f"over windows · 0: as good as after unrelated windows"
    )
    title = "Context gain: bits a base that related windows save"
    write_title(figure, 0.11, title, facts, top=1 - 0.3 / height)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, stream: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    frame(axes, y="gain (bits a base)")
    axes.set_title(stream, loc="left", fontsize=FONT_SIZE + 1)
    axes.set_xscale("symlog", base=2, linthresh=1)
    ticks = sorted(set(table["windows"]))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.axhline(0, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1.0)
    labels = []
    for number, name in enumerate(dict.fromkeys(table["backbone"])):
        line = table[table["backbone"] == name].sort_values("windows")
        style = look(number)
        axes.plot(line["windows"], line["gain"], **style.line, linewidth=1.8, markersize=5)
        axes.vlines(
            line["windows"], line["gain_low"], line["gain_high"], color=style.color, alpha=0.6
        )
        end = line.iloc[-1]
        text = f"{name} {end['gain']:.3f}"
        labels.append(Label(text, (end["windows"], end["gain"]), style.color))
    write_labels(axes, labels, left=1.04)
