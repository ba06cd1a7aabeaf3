"""Pictures of embeddings: a 2-D map, and macro-F1 of classifiers by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.style import (
    FONT_SIZE,
    Label,
    baseline,
    fit_heights,
    frame,
    look,
    write_labels,
    write_title,
    write_whisker,
)
from tasks.metrics.bootstrap import as_figure
from tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X<>"
"""One for each class of a map; colours repeat earlier."""

PROJECTION_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def draw_map(
    maps: Mapping[str, np.ndarray], names: Sequence[str], task: Task, method: str, facts: str
) -> Figure:
    """Draw maps side by side; a class has a colour and a marker, rare classes lie on top.

    Args:
        maps: Coordinates (N, 2) by title.
        names: (N,) classes.
        task: The task whose rows they are.
        method: Name of the projection.
        facts: Second line of the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(maps), 5.4))
    of_row = np.array(names)
    counts = {name: int((of_row == name).sum()) for name in task.labels}
    for number, (title, places) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), number + 1)
        for name in sorted(task.labels, key=lambda one: -counts[one]):
            i = task.labels.index(name)
            color, marker = look(i).color, MARKERS[i % len(MARKERS)]
            rows = of_row == name
            is_rare = counts[name] < len(names) / 4
            axes.scatter(
                places[rows, 0], places[rows, 1], s=34 if is_rare else 14, marker=marker,
                c=color, alpha=0.95 if is_rare else 0.5, edgecolors="white", linewidths=0.4,
                label=f"{name} ({counts[name]})",
            )  # fmt: skip
        axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left")
        name = PROJECTION_NAMES[method]
        frame(axes, f"{name} 1", f"{name} 2" if number == 0 else "", grid="")
        axes.set_xticks([])
        axes.set_yticks([])
    handles, texts = figure.axes[0].get_legend_handles_labels()
    figure.subplots_adjust(left=0.04, right=0.99, top=0.82, bottom=0.15, wspace=0.06)
    figure.legend(
        handles, texts, loc="lower center", ncols=min(5, len(texts)), frameon=False,
        fontsize=FONT_SIZE, markerscale=1.3,
    )  # fmt: skip
    write_title(figure, 0.04, f"{task.name}: map of the sequences", facts, top=0.94)
    return figure


def draw_f1(
    table: pd.DataFrame, task: str, layers: Sequence[str], beside: Sequence[str], facts: str
) -> Figure:
    """Draw macro-F1 by layer, one line for each classifier, and baselines as horizontal lines.

    Args:
        table: As `experiments.embed.classifiers.f1_table` makes it.
        task: Name of the task.
        layers: Layers of the backbone, in order.
        beside: Features that no backbone made.
        facts: Second line of the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.2))
    axes = figure.add_axes((0.09, 0.12, 0.58, 0.70))
    frame(axes, "layer of the backbone (mean over positions)", "macro-F1 on the test split")
    axes.set_xticks(range(len(layers)), [layer.replace("_", " ") for layer in layers])
    axes.set_xlim(-0.3, len(layers) - 0.7)
    fit_heights(axes, table[["f1", "low", "high"]].to_numpy(float))

    written = []
    classifiers = list(dict.fromkeys(table["classifier"]))
    right = axes.get_xlim()[1]
    lines = [(name, classifier) for name in beside for classifier in classifiers]
    for number, (name, classifier) in enumerate(lines):
        row = table[(table["features"] == name) & (table["classifier"] == classifier)].iloc[0]
        style = baseline(number)
        axes.axhline(row["f1"], color=style.color, linestyle=style.linestyle, linewidth=1.1)
        write_whisker(axes, number, row["low"], row["high"], style.color)
        text = f"{name}, {classifier} {as_figure(row['f1'])}"
        written.append(Label(text, (right, row["f1"]), style.color))
    shifts = np.linspace(-0.06, 0.06, len(classifiers)) if len(classifiers) > 1 else np.zeros(1)
    for number, (classifier, shift) in enumerate(zip(classifiers, shifts, strict=True)):
        style = look(number)
        line = table[table["classifier"] == classifier].set_index("features").loc[list(layers)]
        x, y = np.arange(len(layers)) + shift, line["f1"].to_numpy(float)
        axes.vlines(x, line["low"], line["high"], color=style.color, linewidth=1.4, alpha=0.7)
        axes.plot(
            x, y, **style.line, markersize=7, markeredgecolor="white", linewidth=2.0,
        )  # fmt: skip
        text = f"backbone, {classifier} {as_figure(y[-1])}"
        written.append(Label(text, (x[-1], y[-1]), style.color))
    write_labels(axes, written)
    divisions = int(table["divisions"].max())
    over = f"95 % over {divisions} divisions" if divisions > 1 else "95 % over test rows"
    write_title(figure, 0.09, f"{task}: macro-F1 by layer", f"{facts} · bars: {over}", top=0.94)
    return figure
