"""The heat map of transfer: prompts down, tasks across, the area under the curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments.pictures.style import FONT_SIZE, INK, frame, write_title
from tasks.metrics.bootstrap import as_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_transfer(table: pd.DataFrame, order: Sequence[str], facts: str) -> Figure:
    """Draw how well each prompt ranks the rows of each task; white is chance.

    Args:
        table: As `experiments.transfer` makes it.
        order: Names, in the order of rows and columns.
        facts: Below the title.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    wide = table.pivot(index="prompt", columns="task", values="auroc")
    values = wide.loc[list(order), list(order)].to_numpy(float)
    count = len(order)
    height = 2.6 + 0.5 * count
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - 0.75 / height))
    figure = Figure(figsize=(3.6 + 0.72 * count, height), layout=layout)
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
    for (y, x), cell in np.ndenumerate(values):
        if np.isnan(cell):
            continue
        is_dark = abs(float(cell) - 0.5) > 0.35
        axes.text(
            x, y, as_figure(float(cell)), ha="center", va="center", fontsize=FONT_SIZE - 1,
            color="white" if is_dark else INK,
        )  # fmt: skip
    frame(axes, "rows of", "prompt of", grid="")
    axes.set_xticks(range(count), list(order), rotation=35, ha="right")
    axes.set_yticks(range(count), list(order))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("area under the ROC curve", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1)
    bar.outline.set_visible(False)
    top = 1 - 0.3 / float(figure.get_figheight())
    write_title(figure, 0.02, "prompts of one task on another", facts, top=top)
    return figure
