"""Pictures of embeddings: a 2-D map, and what classifiers find in every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.curve import BASELINES, FONT_SIZE, LINES, Label, write_labels
from tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X<>"
METHODS = {"tsne": "t-SNE", "umap": "UMAP"}


def draw_map(
    maps: Mapping[str, np.ndarray], names: Sequence[str], task: Task, method: str, facts: str
) -> Figure:
    """Draws maps side by side; a class has a colour and a marker, rare classes lie on top.

    Args:
        maps: By title the places (N, 2).
        names: (N,) classes.
        task: Whose rows they are.
        method: How they were placed.
        facts: What the second line of the title says.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(maps), 5.4))
    of_row = np.array(names)
    counts = {name: int((of_row == name).sum()) for name in task.labels}
    for number, (title, places) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), number + 1)
        for name in sorted(task.labels, key=lambda one: -counts[one]):
            i = task.labels.index(name)
            color, marker = LINES[i % len(LINES)][0], MARKERS[i % len(MARKERS)]
            rows = of_row == name
            is_rare = counts[name] < len(names) / 4
            axes.scatter(
                places[rows, 0], places[rows, 1], s=34 if is_rare else 14, marker=marker,
                c=color, alpha=0.95 if is_rare else 0.5, edgecolors="white", linewidths=0.4,
                label=f"{name} ({counts[name]})",
            )  # fmt: skip
        axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{METHODS[method]} 1", fontsize=FONT_SIZE)
        axes.set_ylabel(f"{METHODS[method]} 2" if number == 0 else "", fontsize=FONT_SIZE)
        axes.spines[:].set_color("#B0B0B0")
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.subplots_adjust(left=0.04, right=0.99, top=0.82, bottom=0.15, wspace=0.06)
    figure.legend(
        handles, texts, loc="lower center", ncols=min(5, len(texts)), frameon=False,
        fontsize=FONT_SIZE, markerscale=1.3,
    )  # fmt: skip
    _title(figure, 0.04, f"{task.name}: map of the sequences", facts)
    return figure


def draw_f1(
    table: pd.DataFrame, task: str, layers: Sequence[str], beside: Sequence[str], facts: str
) -> Figure:
    """Draws macro-F1 by layer, one line a classifier, and baselines as horizontal lines.

    Args:
        table: As `experiments.embed.f1_table` makes it.
        task: Name of the task.
        layers: Those of the backbone, in order.
        beside: Features that no backbone made.
        facts: What the second line of the title says.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.58, 0.70))
    axes.set_xticks(range(len(layers)), [layer.replace("_", " ") for layer in layers])
    axes.set_xlim(-0.3, len(layers) - 0.7)
    axes.set_ylim(*_limits(table))
    axes.set_xlabel("layer of the backbone (mean over positions)", fontsize=FONT_SIZE + 1)
    axes.set_ylabel("macro-F1 on the test split", fontsize=FONT_SIZE + 1)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#808080")
    axes.tick_params(colors="#404040", labelsize=FONT_SIZE)

    written = []
    classifiers = list(dict.fromkeys(table["classifier"]))
    right = axes.get_xlim()[1]
    lines = [(name, classifier) for name in beside for classifier in classifiers]
    for number, (name, classifier) in enumerate(lines):
        row = table[(table["features"] == name) & (table["classifier"] == classifier)].iloc[0]
        color, dashes = BASELINES[number % len(BASELINES)]
        axes.axhline(row["f1"], color=color, linestyle=dashes, linewidth=1.1)
        place = 1.012 + 0.011 * number
        axes.plot(
            [place, place], [row["low"], row["high"]], color=color, linewidth=1.6,
            solid_capstyle="butt", transform=axes.get_yaxis_transform(), clip_on=False,
        )  # fmt: skip
        written.append(Label(f"{name}, {classifier} {row['f1']:.3f}", (right, row["f1"]), color))
    shifts = np.linspace(-0.06, 0.06, len(classifiers)) if len(classifiers) > 1 else np.zeros(1)
    for number, (classifier, shift) in enumerate(zip(classifiers, shifts, strict=True)):
        color, style, marker = LINES[number % len(LINES)]
        line = table[table["classifier"] == classifier].set_index("features").loc[list(layers)]
        x, y = np.arange(len(layers)) + shift, line["f1"].to_numpy(float)
        axes.vlines(x, line["low"], line["high"], color=color, linewidth=1.4, alpha=0.7)
        axes.plot(
            x, y, color=color, linestyle=style, marker=marker, markersize=7,
            markeredgecolor="white", linewidth=2.0,
        )  # fmt: skip
        written.append(Label(f"backbone, {classifier} {y[-1]:.3f}", (x[-1], y[-1]), color))
    write_labels(axes, written)
    divisions = int(table["divisions"].max())
    over = f"95 % over {divisions} divisions" if divisions > 1 else "95 % bootstrap over test rows"
    _title(figure, 0.09, f"{task}: macro-F1 by layer", f"{facts} · bars: {over}")
    return figure


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    values = table[["f1", "low", "high"]].to_numpy(float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.06 * max(high - low, 0.02)
    return max(0.0, low - margin), min(1.0, high) + margin


def _title(figure: Figure, left: float, title: str, facts: str) -> None:
    figure.text(left, 0.94, title, fontsize=FONT_SIZE + 4, fontweight="bold")
    figure.text(left, 0.895, facts, fontsize=FONT_SIZE, color="#606060")
