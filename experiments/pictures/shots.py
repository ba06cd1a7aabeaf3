"""The pictures of the few-shot curve: means over the sets, and a grid with a panel for each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

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
BEST = "markov, best order"
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
    looks = looks_of(list(dict.fromkeys(shown["line"])))
    for row, (over, title) in enumerate(PANELS.items()):
        for column, metric in enumerate(metrics):
            axes = figure.add_axes((0.055 + 0.5 * column, 0.56 - 0.49 * row, 0.265, 0.32))
            part = shown[(shown["over"] == over) & (shown["metric"] == metric)]
            plain = metric.removeprefix("clean_")
            frame(axes, "shots (demonstrations per class; sets)", NAMES[plain])
            axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left", color=TICKS)
            if len(part):
                _mean_panel(axes, part, looks, CHANCES[plain])
    clean = ", clean test rows" if metrics[0].startswith("clean_") else ""
    write_title(
        figure,
        0.055,
        f"Learning from demonstrations: {table['sets_in_all'].max()} sets{clean}",
        "mean over sets and draws · bands: 95 % over sets and draws · all lines have the same "
        "demonstrations and test rows; a line ends where sets no longer fit",
        top=0.965,
    )
    return figure


def _is_shown(table: pd.DataFrame) -> pd.Series:
    """Say which rows are drawn: means over all sets, and of Markov chains the best order alone."""
    is_single = (table["kind"] == "markov") & (table["line"] != BEST) & (table["order"] != "auto")
    return (table["sets"] == table["sets_in_all"]) & ~is_single


def looks_of(lines: Sequence[str]) -> Mapping[str, Look]:
    """Return the look of each line: few-shot prompting as a line, all else as a baseline."""
    prompted = [line for line in lines if line.split(",")[0] in ("channel", "direct")]
    others = [line for line in lines if line not in prompted]
    found = {line: look(number) for number, line in enumerate(prompted)}
    return found | {line: baseline(number) for number, line in enumerate(others)}


def _mean_panel(axes: Axes, part: pd.DataFrame, looks: Mapping[str, Look], chance: float) -> None:
    ticks = sorted(part["shots"].unique())
    sets = part.groupby("shots")["sets_in_all"].max()
    doubling_axis(axes, ticks)
    axes.set_xticks(ticks, [f"{k}\n{sets[k]} sets" for k in ticks])
    axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
    fit_heights(axes, np.append(part[["value", "low", "high"]].to_numpy(float).ravel(), chance))
    axes.axhline(chance, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=1.0)
    labels = [Label(f"chance {as_figure(chance)}", (axes.get_xlim()[1], chance), CHANCE.color)]
    for name, line in part.groupby("line", sort=False):
        line = line.sort_values("shots")
        style, is_main = looks[str(name)], str(name).startswith(("channel", "direct"))
        shots, value = line["shots"].to_numpy(float), line["value"].to_numpy(float)
        low, high = line["low"].to_numpy(float), line["high"].to_numpy(float)
        axes.fill_between(shots, low, high, color=style.color, alpha=0.10, linewidth=0)
        _plot(axes, shots, value, style, is_main)
        labels.append(Label(f"{name} {as_figure(value[-1])}", (shots[-1], value[-1]), style.color))
    write_labels(axes, labels, left=1.06)


def _plot(
    axes: Axes, shots: np.ndarray, value: np.ndarray, style: Look, is_main: bool, scale: float = 1
) -> None:
    axes.plot(
        shots, value, **style.line, markersize=5.5 * scale,
        linewidth=(2.0 if is_main else 1.2) * scale,
        markerfacecolor=style.color if is_main else "white",
        markeredgecolor="white" if is_main else style.color, zorder=4 if is_main else 3,
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
    looks = looks_of(list(dict.fromkeys(drawn["line"])))
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    ticks = sorted(drawn["shots"].unique())
    for number, axes in enumerate(panels):
        if number >= len(tasks):
            axes.set_visible(False)
            continue
        _set_panel(axes, drawn[drawn["task"] == tasks[number]], looks, CHANCES[metric])
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
    """Return the runs that are drawn: by either readout, and Markov chains of the best order."""
    done = runs[runs["left_out"] == ""].copy()
    done["value"] = done[metric].astype(float)
    best = mean[(mean["line"] == BEST) & (mean["over"] == "each") & (mean["metric"] == metric)]
    order = dict(zip(best["shots"], best["order"], strict=True))
    is_best = (done["kind"] == "markov") & (done["order"] == done["shots"].map(order))
    chains = done[is_best].assign(line=BEST)
    prompted = done[done["kind"].isin(["channel", "direct"])]
    return pd.concat([prompted, chains])


def _set_panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], chance: float) -> None:
    axes.axhline(chance, color=CHANCE.color, linestyle=CHANCE.linestyle, linewidth=0.8)
    for name, style in looks.items():
        of_shots = rows[rows["line"] == name].groupby("shots")["value"]
        mean, low, high = of_shots.mean(), of_shots.min(), of_shots.max()
        shots, is_main = mean.index.to_numpy(float), name != BEST
        axes.vlines(shots, low, high, color=style.color, linewidth=0.8, alpha=0.5)
        _plot(axes, shots, mean.to_numpy(float), style, is_main, scale=0.65)
        axes.lines[-1].set_label(name)
