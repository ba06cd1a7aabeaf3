"""The pictures of the few-shot curve: means over the sets, and a grid with a panel for each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.common.shot_lines import BEST, LIKELIHOODS, READOUTS
from experiments.pictures.style import (
    CHANCE,
    FONT_SIZE,
    TICKS,
    Label,
    Look,
    baseline,
    doubling_axis,
    fit_heights,
    frame,
    look,
    write_labels,
    write_title,
)
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"auroc": "AUROC", "mcc": "Matthews correlation coefficient"}
CHANCES = {"auroc": 0.5, "mcc": 0.0}
PANELS = {"each": "every set that fits at these shots", "all": "the sets that fit at all shots"}
COLUMNS = 5
"""Panels side by side in the grid."""


def draw_means(table: pd.DataFrame, metrics: Sequence[str]) -> Figure:
    """Draw means over the sets against shots: a column for each metric, a row for each choice.

    Args:
        table: As `experiments.shots.table.means` returns it.
        metrics: Two of `experiments.shots.table.METRICS`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.0, 9.6))
    shown = table[_is_shown(table) & table["metric"].isin(metrics)]
    styles = styles_of(shown)
    for row, (over, title) in enumerate(PANELS.items()):
        for column, metric in enumerate(metrics):
            axes = figure.add_axes((0.055 + 0.5 * column, 0.56 - 0.49 * row, 0.265, 0.32))
            part = shown[(shown["over"] == over) & (shown["metric"] == metric)]
            plain = metric.removeprefix("clean_")
            frame(axes, "shots (demonstrations per class; sets)", NAMES[plain])
            axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", color=TICKS)
            if len(part):
                _mean_panel(axes, part, styles, CHANCES[plain])
    clean = ", clean test rows" if metrics[0].startswith("clean_") else ""
    write_title(
        figure,
        0.055,
        f"Learning from demonstrations: {table['sets_in_all'].max()} sets{clean}",
        "mean over sets and draws · bands: 95 % over sets and draws, of the channel and the best "
        "order · all lines have the same demonstrations and test rows; a line ends where sets no "
        "longer fit",
        top=0.965,
    )
    return figure


def _is_shown(table: pd.DataFrame) -> pd.Series:
    """Say which rows are drawn: means over all sets, and of Markov chains the best order alone."""
    is_single = (table["kind"] == "markov") & (table["line"] != BEST) & (table["order"] != "auto")
    return (table["sets"] == table["sets_in_all"]) & ~is_single


@dataclass(frozen=True)
class Style:
    """How a line is drawn.

    Attributes:
        look: Colour, dashes and marker.
        is_prompted: Whether it is few-shot prompting without a control: thick, with full markers.
        has_band: Whether its interval is drawn.
    """

    look: Look
    is_prompted: bool
    has_band: bool


def styles_of(lines: pd.DataFrame) -> dict[str, Style]:
    """Return the style of each line by its name.

    Few-shot prompting comes first, the channel before the other readouts. A control has the colour
    of its plain line, dotted. All else is drawn as a baseline.

    Args:
        lines: With the columns line, kind, backbone and control, in the order of the lines.
    """
    known = lines.drop_duplicates("line")
    plain = known["kind"].isin(list(READOUTS)) & known["control"].isna()
    prompted = known[plain].sort_values("kind", kind="stable")
    found = {
        line: Style(look(number), True, line.startswith(LIKELIHOODS))
        for number, line in enumerate(prompted["line"])
    }
    others = known[~plain]
    for number, line in enumerate(others.loc[others["control"].isna(), "line"]):
        found[line] = Style(baseline(number), False, line == BEST)
    for _, row in others[others["control"].notna()].iterrows():
        own = found.get(f"{row['kind']}, {row['backbone']}")
        color = look(len(prompted)).color if own is None else own.look.color
        found[row["line"]] = Style(Look(color, (1, 2), "x"), False, False)
    return found


def _mean_panel(axes: Axes, part: pd.DataFrame, styles: Mapping[str, Style], chance: float) -> None:
    ticks = sorted(part["shots"].unique())
    sets = part.groupby("shots")["sets_in_all"].max()
    doubling_axis(axes, ticks)
    axes.set_xticks(ticks, [f"{k}\n{sets[k]} sets" for k in ticks])
    axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
    fit_heights(axes, np.append(part[["value", "low", "high"]].to_numpy(float).ravel(), chance))
    axes.axhline(chance, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1.0)
    labels = [Label(f"chance {as_figure(chance)}", (axes.get_xlim()[1], chance), CHANCE.color)]
    for name, line in part.groupby("line", sort=False):
        line, style = line.sort_values("shots"), styles[str(name)]
        shots, value = line["shots"].to_numpy(float), line["value"].to_numpy(float)
        low, high = line["low"].to_numpy(float), line["high"].to_numpy(float)
        color = style.look.color
        if style.has_band:
            axes.fill_between(shots, low, high, color=color, alpha=0.13, linewidth=0)
        _plot(axes, shots, value, style)
        labels.append(Label(f"{name} {as_figure(value[-1])}", (shots[-1], value[-1]), color))
    write_labels(axes, labels, left=1.06)


def _plot(
    axes: Axes, shots: np.ndarray, value: np.ndarray, style: Style, scale: float = 1.0
) -> None:
    color, is_full = style.look.color, style.is_prompted
    axes.plot(
        shots, value, **style.look.line, markersize=5.5 * scale,
        linewidth=(2.0 if is_full else 1.2) * scale,
        markerfacecolor=color if is_full else "white",
        markeredgecolor="white" if is_full else color, zorder=4 if is_full else 3,
    )  # fmt: skip


def draw_sets(runs: pd.DataFrame, mean: pd.DataFrame, metric: str) -> Figure:
    """Draw a panel for each set: means over its draws, with the span of the draws as bars.

    Args:
        runs: As `experiments.shots.table.runs_table` returns it.
        mean: As `experiments.shots.table.means` returns it; says which Markov order is the best
            over the sets at each number of shots.
        metric: "auroc" or "mcc".
    """
    from matplotlib.figure import Figure

    drawn = _of_sets(runs, mean, metric)
    tasks = list(dict.fromkeys(drawn["task"]))
    rows = -(-len(tasks) // COLUMNS)
    height = 1.5 + 1.75 * rows
    figure = Figure(figsize=(13.0, height))
    styles = styles_of(drawn)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    ticks = sorted(drawn["shots"].unique())
    for number, axes in enumerate(panels):
        if number >= len(tasks):
            axes.set_visible(False)
            continue
        _set_panel(axes, drawn[drawn["task"] == tasks[number]], styles, CHANCES[metric])
        axes.set_title(tasks[number], fontsize=FONT_SIZE, loc="left", color=TICKS)
        is_last = number + COLUMNS >= len(tasks)
        frame(
            axes,
            "shots" if is_last else "",
            NAMES[metric].split()[0] if not number % COLUMNS else "",
        )
        doubling_axis(axes, ticks)
        axes.tick_params(labelsize=FONT_SIZE - 2, labelbottom=is_last)
    figure.subplots_adjust(
        left=0.055, right=0.99, top=1 - 1.05 / height, bottom=0.5 / height, hspace=0.3, wspace=0.08
    )
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="upper left", bbox_to_anchor=(0.05, 1 - 0.45 / height),
        ncol=min(len(names), 6), frameon=False, fontsize=FONT_SIZE,
    )  # fmt: skip
    facts = (
        f"mean of {drawn['seed'].nunique()} draws · bars: lowest and highest draw · at most "
        f"{drawn['n'].max():.0f} test rows a draw"
    )
    write_title(figure, 0.055, f"{NAMES[metric]} of each set", facts, top=1 - 0.2 / height)
    return figure


def _of_sets(runs: pd.DataFrame, mean: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the runs that are drawn: by each readout, and Markov chains of the best order."""
    done = runs[runs["left_out"] == ""].copy()
    done["value"] = done[metric].astype(float)
    best = mean[(mean["line"] == BEST) & (mean["over"] == "each") & (mean["metric"] == metric)]
    order = dict(zip(best["shots"], best["order"], strict=True))
    is_best = (done["kind"] == "markov") & (done["order"] == done["shots"].map(order))
    chains = done[is_best].assign(line=BEST)
    prompted = done[done["kind"].isin(list(READOUTS))]
    return pd.concat([prompted, chains])


def _set_panel(axes: Axes, rows: pd.DataFrame, styles: Mapping[str, Style], chance: float) -> None:
    axes.axhline(chance, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=0.8)
    for name, style in styles.items():
        of_shots = rows[rows["line"] == name].groupby("shots")["value"]
        mean, low, high = of_shots.mean(), of_shots.min(), of_shots.max()
        shots = mean.index.to_numpy(float)
        axes.vlines(shots, low, high, color=style.look.color, linewidth=0.8, alpha=0.5)
        _plot(axes, shots, mean.to_numpy(float), style, scale=0.65)
        axes.lines[-1].set_label(name)
