"""The picture of a curve: a metric against a budget, with baselines as labelled lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, ordered so that neighbours also differ in lightness; line style and
# marker repeat the distinction for print in grey.
LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#000000", ":", "D"),
    ("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#E69F00", (0, (8, 2)), "P"),
)
BASELINES = (
    ("#4D4D4D", (0, (6, 2))),
    ("#7A5195", (0, (3, 1.5))),
    ("#8C6D1F", (0, (6, 2, 1, 2))),
    ("#5B7F95", (0, (1.2, 1.2))),
    ("#9E4A5A", (0, (9, 2, 2, 2))),
)
AXES = {
    "prompt_tokens": "prompt tokens (learned vectors)",
    "shots": "shots (demonstrations per class)",
    "tuning_samples": "tuning samples (rows)",
}
"""Budgets that an axis can show, with its title."""

FONT_SIZE = 9.0
LABEL_SPACING = 1.35  # distance between two labels, in font sizes


@dataclass(frozen=True)
class Facts:
    """What a picture must say besides its numbers.

    Attributes:
        task: name of the task.
        backbone: what was prompted, for the title.
        split: which rows were scored, "test" or "val".
        rows: how many rows were scored, for the title.
        best: best possible value of the metric where it is known.
        chance: value of the metric without any knowledge of the sequence.
    """

    task: str
    backbone: str
    rows: str
    split: str = "test"
    best: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Label:
    """A text to the right of the axes: what, at which height, from which end of a line."""

    text: str
    end: tuple[float, float]  # in data coordinates
    color: str


def spread(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Moves labels apart as little as possible (least squares), keeping their order.

    Args:
        heights: (N,) wanted heights in any order.
        gap: least distance between two neighbours.
        low: lowest height allowed.
        high: highest height allowed; `(N - 1) * gap` must fit between `low` and `high`, otherwise
            the labels are `(high - low) / (N - 1)` apart.

    Returns:
        (N,) heights in the order given.
    """
    from scipy.optimize import isotonic_regression

    count = len(heights)
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(count)
    moved = isotonic_regression(heights[order] - steps).x
    result = np.empty(count)
    result[order] = np.clip(moved, low, high - gap * (count - 1)) + steps
    return result


def draw(table: pd.DataFrame, facts: Facts, against: str = "prompt_tokens") -> Figure:
    """Draws one task's table as made by `experiments.common.points.aggregate`.

    A row with the budget is a point of a line, one line for each method, value of the other budgets
    and variant, with its interval as a band; a second axis counts the trainable parameters. A row
    without the budget is a horizontal line, with its interval as a whisker beside the axes. Every
    line is labelled at its right end.

    Args:
        table: rows of one task and one metric.
        facts: what the title says and the reference lines.
        against: the budget on the axis, one of AXES.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.60, 0.66))
    curves = table[table[against].notna()]
    flat = table[table[against].isna()].sort_values("mean", ascending=False)
    metric = str(table["metric"].iloc[0])
    _frame(axes, curves[against].to_numpy(float), _values(table, facts))
    axes.set_xlabel(AXES[against], fontsize=FONT_SIZE + 1)
    add_parameters(axes, curves, against)
    name = metric.replace("_", " ")
    axes.set_ylabel(f"{name} on the {facts.split} split", fontsize=FONT_SIZE + 1)
    labels = [
        *_reference_lines(axes, facts),
        *_baselines(axes, flat, against),
        *_curves(axes, curves, against),
    ]
    write_labels(axes, labels)
    _title(axes, table, facts, against)
    return figure


def _values(table: pd.DataFrame, facts: Facts) -> np.ndarray:
    """Everything that must be visible on the vertical axis."""
    references = [value for value in (facts.best, facts.chance) if value is not None]
    return np.concatenate([table[["mean", "low", "high"]].to_numpy(float).ravel(), references])


def _frame(axes: Axes, tokens: np.ndarray, values: np.ndarray) -> None:
    """Scales, ticks and axis labels; the labels' places are computed from these limits."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    ticks = np.unique(np.append(tokens, 0))
    positive = ticks[ticks > 0]
    smallest = _scale(axes, ticks)
    if len(ticks) > 10:
        ticks = np.unique(np.append(0, 2.0 ** np.floor(np.log2(positive))))
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(-0.12 * smallest, max(ticks.max(), smallest) * 1.08)

    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.06 * max(high - low, 0.02)
    axes.set_ylim(low - margin, high + margin)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#808080")
    axes.tick_params(colors="#404040", labelsize=FONT_SIZE)


def _scale(axes: Axes, ticks: np.ndarray) -> float:
    """Logarithmic from the smallest positive tick on, linear from there down to 0; gives it."""
    smallest = float(min(ticks[ticks > 0], default=1))
    axes.set_xscale("symlog", base=2, linthresh=smallest, linscale=1)
    return smallest


def _reference_lines(axes: Axes, facts: Facts) -> Iterator[Label]:
    right = axes.get_xlim()[1]
    for name, value, color, style in (
        ("best possible", facts.best, "#202020", "-"),
        ("chance", facts.chance, "#7A7A7A", ":"),
    ):
        if value is not None:
            axes.axhline(value, color=color, linestyle=style, linewidth=1.0, zorder=1)
            yield Label(f"{name} {value:.3f}", (right, value), color)


def _baselines(axes: Axes, flat: pd.DataFrame, against: str) -> Iterator[Label]:
    """Horizontal lines, each with its interval as a whisker in the gutter beside the axes."""
    right = axes.get_xlim()[1]
    beside = axes.get_yaxis_transform()  # horizontal in parts of the axes, vertical in data
    for number, (_, row) in enumerate(flat.iterrows()):
        color, style = BASELINES[number % len(BASELINES)]
        axes.axhline(row["mean"], color=color, linestyle=style, linewidth=1.1, zorder=2)
        place = 1.012 + 0.011 * (number % 4)
        axes.plot(
            [place, place],
            [row["low"], row["high"]],
            color=color,
            linewidth=1.6,
            solid_capstyle="butt",
            transform=beside,
            clip_on=False,
        )
        yield Label(f"{line_name(row, against)} {row['mean']:.3f}", (right, row["mean"]), color)


def _curves(axes: Axes, curves: pd.DataFrame, against: str) -> Iterator[Label]:
    line_of = ["method", *(name for name in AXES if name != against), "variant"]
    groups = curves.groupby(line_of, dropna=False, sort=True)
    for number, (_, line) in enumerate(groups):
        color, style, marker = LINES[number % len(LINES)]
        line = line.sort_values(against)
        budget = line[against].to_numpy(float)
        mean, low, high = (line[name].to_numpy(float) for name in ("mean", "low", "high"))
        axes.fill_between(budget, low, high, color=color, alpha=0.15, linewidth=0, zorder=3)
        axes.vlines(budget, low, high, color=color, alpha=0.45, linewidth=1.0, zorder=3)
        axes.plot(
            budget,
            mean,
            color=color,
            linestyle=style,
            marker=marker,
            markersize=6,
            markeredgecolor="white",
            linewidth=2.0,
            zorder=4,
        )
        yield Label(
            f"{line_name(line.iloc[0], against)} {mean[-1]:.3f}", (budget[-1], mean[-1]), color
        )


def line_name(row: pd.Series, against: str = "prompt_tokens") -> str:
    """What a line is called: its method, the budgets that are not on the axis, its variant."""
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
    """Adds a second axis above with the number of trainable parameters at each tick.

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
        above.spines["top"].set_color("#808080")
        above.set_xticks(list(ticks), ["" if v < 0 else short(v) for v in values])
        above.set_xticks([], minor=True)
        above.tick_params(colors="#404040", labelsize=FONT_SIZE - 1, pad=1, length=3)
        which = f" of {', '.join(methods)}" if len(counts) > 1 else ""
        above.set_xlabel(f"trainable parameters{which}", fontsize=FONT_SIZE, labelpad=3)


def short(count: float) -> str:
    """A count in three digits: 130, 2.05k, 1.6M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.0f}"


def write_labels(axes: Axes, labels: list[Label]) -> None:
    """Places the labels beside the axes, apart from each other, each tied to its line's end."""
    bottom, top = axes.get_ylim()
    heights = np.array([(label.end[1] - bottom) / (top - bottom) for label in labels])
    points_high = axes.bbox.height * 72 / axes.figure.dpi
    gap = LABEL_SPACING * FONT_SIZE / points_high
    for label, height in zip(labels, spread(heights, gap, 0.0, 1.0), strict=True):
        axes.annotate(
            label.text,
            xy=label.end,
            xycoords="data",
            xytext=(1.075, height),
            textcoords="axes fraction",
            color=label.color,
            fontsize=FONT_SIZE,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.color,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )


def _title(axes: Axes, table: pd.DataFrame, facts: Facts, against: str) -> None:
    seeds = table["n_seeds"]
    if seeds.max() == 1:
        interval = "bands and bars: 95 % bootstrap over test rows, one seed"
    else:
        count = f"{seeds.max()}" if seeds.min() == seeds.max() else f"up to {seeds.max()}"
        interval = f"mean; bands and bars: 95 % over {count} seeds"
    name = str(table["metric"].iloc[0]).replace("_", " ")
    above = axes.figure.transFigure
    axes.text(
        0.09,
        0.985,
        f"{facts.task}: {name} against {against.replace('_', ' ')}",
        transform=above,
        fontsize=FONT_SIZE + 4,
        fontweight="bold",
    )
    axes.text(
        0.09,
        0.945,
        f"backbone {facts.backbone} · {facts.rows} {facts.split} sequences · {interval}",
        transform=above,
        fontsize=FONT_SIZE,
        color="#606060",
    )
