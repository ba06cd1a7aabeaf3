"""The look that all pictures share: palette, axes, labels next to lines, titles, files.

Colours are those of Okabe and Ito (2008, Color Universal Design), with the last one darkened so
that text in it can be read on white. Dashes and markers repeat what colours say, so that every
picture survives print in greyscale. `experiments.page` draws with the same palette.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 9.0
LABEL_SPACING = 1.35
"""Distance between two labels, in font sizes."""


@dataclass(frozen=True)
class Look:
    """How a line is drawn.

    Attributes:
        color: As #RRGGBB.
        dash: Lengths of dashes and gaps in line widths; empty for a solid line.
        marker: As Matplotlib names it; empty for none.
    """

    color: str
    dash: tuple[float, ...] = ()
    marker: str = ""

    @property
    def linestyle(self) -> Any:
        """The dashes as Matplotlib takes them."""
        return (0, self.dash) if self.dash else "-"

    @property
    def line(self) -> dict[str, Any]:
        """The keyword arguments of `Axes.plot`."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}


LINES = (
    Look("#0072B2", (), "o"),
    Look("#D55E00", (3.5, 1.5), "s"),
    Look("#009E73", (3.5, 1.5, 1, 1.5), "^"),
    Look("#000000", (1, 1.2), "D"),
    Look("#CC79A7", (3, 1, 1, 1, 1, 1), "v"),
    Look("#A66F00", (5.5, 1.5), "P"),
)
"""What a picture is about: methods with a backbone, runs, models."""

BASELINES = (
    Look("#4D4D4D", (6, 2), "o"),
    Look("#7A5195", (3, 1.5), "s"),
    Look("#7A5F17", (6, 2, 1, 2), "D"),
    Look("#47697E", (1.5, 1.5), "^"),
    Look("#9E4A5A", (9, 2, 2, 2), "v"),
)
"""What it is compared with; thinner and of less saturated colours."""

BEST = Look("#202020")
CHANCE = Look("#6A6A6A", (1, 1.65))
"""Reference lines: the best possible value, and the value without any knowledge."""

INK, NOTE, TICKS, SPINE, GRID = "#202020", "#606060", "#404040", "#808080", "#E6E6E6"
"""Text and marks in the order of their weight."""


def look(number: int) -> Look:
    """Return the look of the line of a number.

    Colours repeat after `len(LINES)`, each time with another dash and marker.
    """
    return _numbered(LINES, number)


def baseline(number: int) -> Look:
    """Return the look of the baseline of a number, as `look` does for lines."""
    return _numbered(BASELINES, number)


def _numbered(looks: Sequence[Look], number: int) -> Look:
    other = looks[(number + number // len(looks)) % len(looks)]
    return Look(looks[number % len(looks)].color, other.dash, other.marker)


def frame(axes: Axes, x: str = "", y: str = "", grid: str = "y") -> None:
    """Draw axes as all pictures have them: two spines, a pale grid, labels with units.

    Args:
        axes: The axes.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        grid: "x", "y", "both", or empty for no grid.
    """
    axes.set_xlabel(x, fontsize=FONT_SIZE + 1)
    axes.set_ylabel(y, fontsize=FONT_SIZE + 1)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SPINE)
    axes.tick_params(colors=TICKS, labelsize=FONT_SIZE)


def doubling_axis(axes: Axes, ticks: Sequence[float] = ()) -> None:
    """Make the horizontal axis logarithmic to base 2, with whole numbers at its ticks."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log", base=2)
    if len(ticks):
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")


def decade_axis(axes: Axes) -> None:
    """Make the vertical axis of what is drawn logarithmic, with plain numbers at its ticks.

    Ticks are at 1, 10, 100 ..., and also at 2, 5, 20 ... where there are less than three decades.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def fit_heights(axes: Axes, values: np.ndarray) -> None:
    """Set the vertical limits to values (any shape, NaN left out), with a margin of 6 %."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.06 * max(high - low, 0.02)
    axes.set_ylim(low - margin, high + margin)


def write_title(figure: Figure, left: float, title: str, facts: str, top: float = 0.95) -> None:
    """Write a title, and in smaller type below it what the picture was made from.

    Args:
        figure: The figure.
        left: Where both begin, in parts of the figure's width.
        title: What is shown.
        facts: Backbone, rows, and what the intervals mean.
        top: Height of the title's base line, in parts of the figure's height.
    """
    below = top - 1.35 * (FONT_SIZE + 4) / (72 * figure.get_size_inches()[1])
    figure.text(left, top, title, fontsize=FONT_SIZE + 4, fontweight="bold")
    figure.text(left, below, facts, fontsize=FONT_SIZE, color=NOTE)


def write_whisker(axes: Axes, number: int, low: float, high: float, color: str) -> None:
    """Draw the interval of a horizontal line in the gutter to the right of the axes.

    Args:
        axes: The axes.
        number: Of the line; whiskers of four neighbours stand side by side.
        low: Lower end of the interval.
        high: Upper end.
        color: Of the line.
    """
    place = 1.012 + 0.011 * (number % 4)
    axes.plot(
        [place, place], [low, high], color=color, linewidth=1.6, solid_capstyle="butt",
        transform=axes.get_yaxis_transform(), clip_on=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Label:
    """A text to the right of the axes.

    Attributes:
        text: The text.
        end: End of its line, in data coordinates.
        color: Of both.
    """

    text: str
    end: tuple[float, float]
    color: str


def spread(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move labels apart as little as possible (least squares), keeping their order.

    Args:
        heights: (N,) wanted heights in any order.
        gap: Least distance between two neighbours.
        low: Lowest height allowed.
        high: Highest height allowed. Where `(N - 1) * gap` does not fit between `low` and `high`,
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


def write_labels(axes: Axes, labels: Sequence[Label], left: float = 1.075) -> None:
    """Write labels to the right of the axes, apart from each other, each tied to its line's end.

    Args:
        axes: The axes; their limits must not change afterwards.
        labels: The labels.
        left: Where they begin, in parts of the axes' width.
    """
    bottom, top = axes.get_ylim()
    heights = np.array([(label.end[1] - bottom) / (top - bottom) for label in labels])
    gap = LABEL_SPACING * FONT_SIZE / (axes.bbox.height * 72 / axes.figure.dpi)
    for label, height in zip(labels, spread(heights, gap, 0.0, 1.0), strict=True):
        axes.annotate(
            label.text,
            xy=label.end,
            xytext=(left, height),
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


def save(figure: Figure, table: pd.DataFrame, stem: str, out: Path) -> list[Path]:
    """Write a picture as PNG and SVG and its table as CSV, each atomically.

    Returns:
        The three paths.

    Raises:
        InputError: If the folder cannot be written.
    """
    return _write_all(
        out, _drawn(figure, stem) | {f"{stem}.csv": table.to_csv(index=False).encode()}
    )


def save_figure(figure: Figure, stem: str, out: Path) -> list[Path]:
    """Write a picture as PNG and SVG, each atomically; return both paths.

    Raises:
        InputError: If the folder cannot be written.
    """
    return _write_all(out, _drawn(figure, stem))


def _drawn(figure: Figure, stem: str) -> dict[str, bytes]:
    """Return the contents of the files of a picture, by their names."""
    import matplotlib

    contents = {}
    with matplotlib.rc_context({"svg.hashsalt": stem, "svg.fonttype": "none"}):
        for suffix, details in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, bbox_inches="tight", pad_inches=0.15, **details)
            contents[f"{stem}.{suffix}"] = buffer.getvalue()
    return contents


def _write_all(out: Path, contents: dict[str, bytes]) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_write(out / name, data) for name, data in contents.items()]
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error


def save_png(figure: Figure, path: Path) -> Path:
    """Write a picture only as PNG, atomically; return its path.

    Raises:
        OSError: If the folder cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> Path:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path
