"""The picture of a curve: a metric against a budget, with baselines as labelled lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.style import (
    BEST,
    CHANCE,
    FONT_SIZE,
    SPINE,
    TICKS,
    Label,
    Look,
    baseline,
    fit_heights,
    frame,
    look,
    write_labels,
    write_title,
    write_whisker,
)
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {
    "prompt_tokens": "prompt tokens (learned vectors)",
    "shots": "shots (demonstrations per class)",
    "tuning_samples": "tuning samples (rows)",
}
"""Budgets that the horizontal axis can show, each with its title."""


@dataclass(frozen=True)
class Facts:
    """The facts that a picture states besides its data.

    Attributes:
        task: Name of the task.
        backbone: Name of the backbone, for the title.
        rows: How many rows were scored, for the title.
        split: Which rows were scored, "test" or "val".
        best: Best possible value of the metric, where it is known.
        chance: Value of the metric without any knowledge of the sequence.
    """

    task: str
    backbone: str
    rows: str
    split: str = "test"
    best: float | None = None
    chance: float | None = None


def facts(frame: pd.DataFrame, metric: str) -> Facts:
    """Return the facts that the picture of one task states besides its data.

    Args:
        frame: Runs of one task, as `icl.results.load_results` returns them.
        metric: Metric of the picture, on which the reference lines depend.
    """
    classes = len(frame["labels"].iloc[0])
    whole = frame["n_test"].where(frame["evaluated_on"] == "test", frame["n_val"])
    scored = frame["n_scored"].fillna(whole)  # old reports scored all
    best = frame["best_accuracy"].dropna()
    prompted = frame[frame["prompt_tokens"].notna()]
    backbones = (prompted if len(prompted) else frame)["backbone"].dropna().unique()
    return Facts(
        task=frame["task"].iloc[0],
        backbone=" and ".join(backbones) or "none",
        split=" and ".join(sorted(frame["evaluated_on"].unique())),
        rows=" to ".join(f"{rows:,}" for rows in sorted({scored.min(), scored.max()})),
        best=best.iloc[0] if metric == "accuracy" and len(best) else None,
        chance={"accuracy": 1 / classes, "balanced_accuracy": 1 / classes, "auroc": 0.5}.get(
            metric
        ),
    )


@dataclass(frozen=True)
class Looks:
    """How lines and baselines are drawn, by their names (`line_name`).

    Attributes:
        lines: Of what is on the axis.
        flat: Of what has no budget there.
    """

    lines: Mapping[str, Look]
    flat: Mapping[str, Look]


def looks(table: pd.DataFrame, against: str = "prompt_tokens") -> Looks:
    """Return the looks of all lines of a folder, so that one name looks alike in every picture.

    Args:
        table: Runs of any number of tasks, as `experiments.common.points.prepared` returns them,
            or their points.
        against: The budget on the axis, one of AXES.
    """
    line_of = ["method", *(name for name in AXES if name != against), "variant"]
    names: dict[bool, dict[str, None]] = {True: {}, False: {}}
    distinct = table[[*line_of, against]].drop_duplicates().sort_values(line_of, kind="stable")
    for _, row in distinct.iterrows():
        names[pd.notna(row[against])].setdefault(line_name(row, against))
    return Looks(
        {name: look(number) for number, name in enumerate(names[True])},
        {name: baseline(number) for number, name in enumerate(names[False])},
    )


def draw(
    table: pd.DataFrame,
    about: Facts,
    against: str = "prompt_tokens",
    styles: Looks | None = None,
) -> Figure:
    """Draw one task's table as made by `experiments.common.points.aggregate`.

    A row with the budget is a point of a line, one line for each method, value of the other budgets
    and variant, with its interval as a band; a second axis counts the trainable parameters. A row
    without the budget is a horizontal line, with its interval as a whisker next to the axes. Every
    line is labelled at its right end. Without a row that has the budget, there is no such axis.

    Args:
        table: Rows of one task and one metric.
        about: Title and reference lines.
        against: The budget on the axis, one of AXES.
        styles: Of all lines of a folder; by default those of the table's own.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.60, 0.66))
    curves = table[table[against].notna()]
    flat = table[table[against].isna()].sort_values("mean", ascending=False)
    metric = str(table["metric"].iloc[0]).replace("_", " ")
    styles = styles or looks(table, against)
    frame(axes, AXES[against] if len(curves) else "", f"{metric} on the {about.split} split")
    # Labels are placed by these limits, which must not change from here on.
    _budget_axis(axes, curves[against].to_numpy(float))
    fit_heights(axes, _values(table, about))
    add_parameters(axes, curves, against)
    labels = [
        *_reference_lines(axes, about),
        *_baselines(axes, flat, against, styles),
        *_curves(axes, curves, against, styles),
    ]
    write_labels(axes, labels)
    budget = f" against {against.replace('_', ' ')}" if len(curves) else ""
    title = f"{about.task}: {metric}{budget}"
    below = f"backbone {about.backbone} · {about.rows} {about.split} sequences · {_interval(table)}"
    write_title(figure, 0.09, title, below, top=0.985)
    return figure


def _values(table: pd.DataFrame, about: Facts) -> np.ndarray:
    """Return everything that must be visible on the vertical axis."""
    references = [value for value in (about.best, about.chance) if value is not None]
    return np.concatenate([table[["mean", "low", "high"]].to_numpy(float).ravel(), references])


def _budget_axis(axes: Axes, budgets: np.ndarray) -> None:
    """Set scale, ticks and limits of the horizontal axis; 0 is always on it if anything is."""
    from matplotlib.ticker import FixedLocator, NullLocator

    if not len(budgets):
        axes.set_xticks([])
        return
    ticks = np.unique(np.append(budgets, 0))
    positive = ticks[ticks > 0]
    smallest = _scale(axes, ticks)
    if len(ticks) > 10:
        ticks = np.unique(np.append(0, 2.0 ** np.floor(np.log2(positive))))
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(-0.12 * smallest, max(ticks.max(), smallest) * 1.08)


def _scale(axes: Axes, ticks: np.ndarray) -> float:
    """Make the axis logarithmic from the smallest positive tick on, and linear below; return it."""
    smallest = float(min(ticks[ticks > 0], default=1))
    axes.set_xscale("symlog", base=2, linthresh=smallest, linscale=1)
    return smallest


def _reference_lines(axes: Axes, about: Facts) -> Iterator[Label]:
    right = axes.get_xlim()[1]
    for name, value, style in (
        ("best possible", about.best, BEST),
        ("chance", about.chance, CHANCE),
    ):
        if value is not None:
            axes.axhline(value, color=style.color, linestyle=style.linestyle, linewidth=1, zorder=1)
            yield Label(f"{name} {as_figure(value)}", (right, value), style.color)


def _baselines(axes: Axes, flat: pd.DataFrame, against: str, styles: Looks) -> Iterator[Label]:
    """Draw horizontal lines, each with its interval as a whisker next to the axes."""
    right = axes.get_xlim()[1]
    for number, (_, row) in enumerate(flat.iterrows()):
        name = line_name(row, against)
        style = styles.flat[name]
        mean = row["mean"]
        axes.axhline(mean, color=style.color, linestyle=style.linestyle, linewidth=1.1, zorder=2)
        write_whisker(axes, number, row["low"], row["high"], style.color)
        yield Label(f"{name} {as_figure(mean)}", (right, mean), style.color)


def _curves(axes: Axes, curves: pd.DataFrame, against: str, styles: Looks) -> Iterator[Label]:
    line_of = ["method", *(name for name in AXES if name != against), "variant"]
    for _, line in curves.groupby(line_of, dropna=False, sort=True):
        named = line_name(line.iloc[0], against)
        style = styles.lines[named]
        line = line.sort_values(against)
        budget = line[against].to_numpy(float)
        mean, low, high = (line[name].to_numpy(float) for name in ("mean", "low", "high"))
        axes.fill_between(budget, low, high, color=style.color, alpha=0.15, linewidth=0, zorder=3)
        axes.vlines(budget, low, high, color=style.color, alpha=0.45, linewidth=1.0, zorder=3)
        axes.plot(
            budget, mean, **style.line, markersize=6, markeredgecolor="white", linewidth=2.0,
            zorder=4,
        )  # fmt: skip
        yield Label(f"{named} {as_figure(mean[-1])}", (budget[-1], mean[-1]), style.color)


def line_name(row: pd.Series, against: str = "prompt_tokens") -> str:
    """Return the name of a line: its method, the budgets that are not on the axis, its variant."""
    parts = [row["method"]]
    for name, noun in (
        ("prompt_tokens", "prompt token"),
        ("shots", "shot"),
        ("tuning_samples", "tuning sample"),
    ):
        is_none = pd.isna(row[name]) or (name == "shots" and row[name] == 0)
        if name != against and not is_none:
            parts.append(f"{row[name]:,.0f} {noun}{'' if row[name] == 1 else 's'}")
    variant = f" ({row['variant']})" if row["variant"] else ""
    return f"{', '.join(parts)}{variant}"


def add_parameters(axes: Axes, curves: pd.DataFrame, against: str) -> None:
    """Add a second axis above with the number of trainable parameters at each tick.

    Methods that learn different numbers have an axis each, two at most; there is none where the
    number does not depend on the budget.
    """
    counts: dict[tuple[int, ...], list[str]] = {}
    ticks = np.asarray(axes.get_xticks())
    for method, line in curves.groupby("method", sort=True):
        known = dict(zip(line[against], line["trainable_parameters"], strict=True))
        if len(set(known.values())) > 1:
            counts.setdefault(tuple(known.get(tick, -1) for tick in ticks), []).append(str(method))
    for number, (values, methods) in enumerate(list(counts.items())[:2]):
        above = axes.twiny()
        _scale(above, ticks)
        above.set_xlim(axes.get_xlim())
        above.spines[["left", "right", "bottom"]].set_visible(False)
        above.spines["top"].set_position(("outward", 32.0 * number))
        above.spines["top"].set_color(SPINE)
        above.set_xticks(list(ticks), ["" if v < 0 else short(v) for v in values])
        above.set_xticks([], minor=True)
        above.tick_params(colors=TICKS, labelsize=FONT_SIZE - 1, pad=1, length=3)
        which = f" of {', '.join(methods)}" if len(counts) > 1 else ""
        above.set_xlabel(f"trainable parameters{which}", fontsize=FONT_SIZE, labelpad=3)


def short(count: float) -> str:
    """Return a count in three digits: 130, 2.05k, 1.6M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"


def _interval(table: pd.DataFrame) -> str:
    """Say what bands and bars are."""
    seeds = table["n_seeds"]
    if seeds.max() == 1:
        return "bands and bars: 95 % over test rows, one seed"
    count = f"{seeds.max()}" if seeds.min() == seeds.max() else f"up to {seeds.max()}"
    return f"mean; bands and bars: 95 % over test rows and {count} seeds"
