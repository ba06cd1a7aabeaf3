"""Importances of bases: logos of rows, heat maps of every replacement, means by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.style import (
    FONT_SIZE,
    GRID,
    INK,
    LINES,
    NOTE,
    TICKS,
    frame,
    look,
    write_title,
)
from tasks.metrics.bootstrap import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = dict(zip("ACGTN", (*(LINES[i].color for i in (2, 0, 5, 1)), NOTE), strict=True))
"""Letters in the palette of all pictures."""

INCHES_A_BASE, LEAST_WIDTH, MOST_WIDTH = 0.1, 6.0, 16.0
RESAMPLES = 500


@dataclass(frozen=True)
class Track:
    """What one run reads in a row.

    Attributes:
        name: Of the run.
        bases: A row for each base, as `icl.explain` writes them.
    """

    name: str
    bases: pd.DataFrame


def most_important_stretch(bases: pd.DataFrame, width: int) -> slice:
    """Return where the stretch of `width` bases with the greatest sum of |importance| lies."""
    sizes = bases["importance"].abs().to_numpy(float)
    if len(sizes) <= width:
        return slice(0, len(sizes))
    start = int(np.convolve(sizes, np.ones(width), mode="valid").argmax())
    return slice(start, start + width)


def draw_logos(tracks: Sequence[Track], stretch: slice, title: str, facts: str) -> Figure:
    """Draw a stretch of one row as every run reads it; letters are as high as their importance.

    Bases of a planted motif are shaded.

    Args:
        tracks: Of the same row.
        stretch: Which positions.
        title: Above the picture.
        facts: Below the title.
    """
    import logomaker

    figure, axes = _stack(len(tracks), stretch.stop - stretch.start, 1.25)
    for track, ax in zip(tracks, axes, strict=True):
        part = track.bases.iloc[stretch]
        letters = np.array(list("ACGTN"))
        is_letter = part["base"].to_numpy()[:, None] == letters
        heights = pd.DataFrame(
            is_letter * part["importance"].to_numpy(float)[:, None],
            index=part["position"].to_numpy(),
            columns=letters,
        )
        logomaker.Logo(heights, ax=ax, color_scheme=COLORS, baseline_width=0.4, vpad=0.03)
        _shade(ax, part)
        _label(ax, track.name, ax is axes[-1])
    write_title(figure, 0.02, title, facts, top=_top(figure))
    return figure


def draw_effects(tracks: Sequence[Track], stretch: slice, title: str, facts: str) -> Figure:
    """Draw the change of the log-odds by every letter at every position, run by run."""
    figure, axes = _stack(len(tracks), stretch.stop - stretch.start, 0.95)
    for track, ax in zip(tracks, axes, strict=True):
        part = track.bases.iloc[stretch]
        effects = part[list("ACGT")].to_numpy(float).T
        most = np.abs(effects).max() or 1.0
        places = part["position"].to_numpy()
        image = ax.imshow(
            effects, aspect="auto", cmap="PuOr_r", vmin=-most, vmax=most,
            extent=(places[0] - 0.5, places[-1] + 0.5, 3.5, -0.5),
        )  # fmt: skip
        for row, letter in enumerate("ACGT"):
            own = places[part["base"].to_numpy() == letter]
            ax.plot(own, np.full(len(own), row), ".", color=INK, markersize=2.2)
        _label(ax, track.name, ax is axes[-1])
        ax.set_yticks(range(4), list("ACGT"))
        bar = figure.colorbar(image, ax=ax, pad=0.01, fraction=0.02)
        bar.ax.tick_params(labelsize=FONT_SIZE - 2)
        bar.outline.set_visible(False)
    write_title(figure, 0.02, title, facts, top=_top(figure))
    return figure


def profiles(tracks: Sequence[Track], groups: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Return the mean importance at each position over rows, with intervals over rows.

    Args:
        tracks: Of all rows, which have one length.
        groups: Numbers of rows, by what they have in common.

    Returns:
        Columns run, group, position, mean, low and high.
    """
    tables = []
    for track in tracks:
        wide = track.bases.pivot(index="row", columns="position", values="importance")
        for group, rows in groups.items():
            values = wide.loc[list(rows)].to_numpy(float)
            draws = [
                weights @ values / weights.sum(axis=1, keepdims=True)
                for weights in bootstrap_weights(len(values), RESAMPLES, seed=0)
            ]
            means, resampled = values.mean(axis=0), np.concatenate(draws)
            ends = [percentile_interval(*pair) for pair in zip(means, resampled.T, strict=True)]
            tables.append(
                pd.DataFrame(
                    {"run": track.name, "group": group, "position": wide.columns, "mean": means}
                    | {"low": [one.low for one in ends], "high": [one.high for one in ends]}
                )
            )
    return pd.concat(tables, ignore_index=True)


def draw_profiles(table: pd.DataFrame, title: str, facts: str) -> Figure:
    """Draw mean importances against the position, one panel a run, one line a group."""
    names = list(table["run"].unique())
    figure, axes = _stack(len(names), table["position"].nunique(), 1.5)
    for name, ax in zip(names, axes, strict=True):
        for number, (group, line) in enumerate(
            table[table["run"] == name].groupby("group", sort=False)
        ):
            style = look(number)
            ax.fill_between(
                line["position"], line["low"], line["high"],
                color=style.color, alpha=0.2, linewidth=0,
            )  # fmt: skip
            ax.plot(
                line["position"], line["mean"], color=style.color, linestyle=style.linestyle,
                linewidth=1.3, label=str(group),
            )  # fmt: skip
        ax.axhline(0, color=GRID, linewidth=0.8, zorder=0)
        _label(ax, name, ax is axes[-1])
    axes[0].legend(fontsize=FONT_SIZE - 1, frameon=False, loc="upper left", ncols=3)
    write_title(figure, 0.02, title, facts, top=_top(figure))
    return figure


def _stack(panels: int, bases: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels below each other, as wide as the bases need."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width = min(MOST_WIDTH, max(LEAST_WIDTH, 1.2 + INCHES_A_BASE * bases))
    total = 1.1 + height * panels
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.75 / total))
    figure = Figure(figsize=(width, total), layout=layout)
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def _top(figure: Figure) -> float:
    return 1 - 0.3 / float(figure.get_figheight())


def _label(axes: Axes, name: str, is_last: bool) -> None:
    frame(axes, "position (bases)" if is_last else "", "", grid="")
    axes.set_ylabel(name, fontsize=FONT_SIZE, color=INK)
    axes.tick_params(labelsize=FONT_SIZE - 1.5, colors=TICKS)


def _shade(axes: Axes, part: pd.DataFrame) -> None:
    """Shade the bases of a planted motif, where they are known."""
    if "planted" not in part:
        return
    planted = part["planted"].to_numpy(bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], planted, [False]]).astype(int)))
    first = int(part["position"].iloc[0])
    for start, end in edges.reshape(-1, 2) + first:
        axes.axvspan(start - 0.5, end - 0.5, color=GRID, zorder=-1, linewidth=0)
