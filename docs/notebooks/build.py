"""Notebooks from their sources: `python docs/notebooks/build.py` runs each and writes its .ipynb.

A source is Python with cells: `# %%` begins code, `# %% [markdown]` text, whose lines are comments.
Lines that begin with `%` are notebook commands, left out where cells run here. What a code cell
prints, and the figure that its last line names, become its outputs.
"""

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MARK = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
COMMAND = re.compile(r"^(\s*)%.*$", re.MULTILINE)
DPI = 60


@dataclass(frozen=True)
class Cell:
    """A cell: its kind, `code` or `markdown`, and its text without the mark."""

    kind: str
    text: str


def sources() -> list[Path]:
    """Return the sources of all notebooks."""
    return sorted((FOLDER / "sources").glob("*.py"))


def notebook_of(source: Path) -> Path:
    """Return where the notebook of a source lies."""
    return FOLDER / f"{source.stem}.ipynb"


def cells_of(source: Path) -> list[Cell]:
    """Return the cells of a source."""
    _, *parts = MARK.split(source.read_text(encoding="utf-8"))
    cells = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        lines = text.strip("\n").splitlines()
        if mark:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        cells.append(Cell("markdown" if mark else "code", "\n".join(lines)))
    return cells


def run(cells: list[Cell]) -> Iterator[list[dict[str, Any]]]:
    """Run the code cells one after another in the working directory, and yield their outputs."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, start=1):
        if cell.kind != "code":
            continue
        printed = io.StringIO()
        code = COMMAND.sub(r"\1pass", cell.text)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(code, f"cell {number}", "exec"), names)
        outputs = []
        if printed.getvalue():
            text = printed.getvalue().splitlines(keepends=True)
            outputs.append({"output_type": "stream", "name": "stdout", "text": text})
        last = names.get(cell.text.rsplit("\n", 1)[-1].strip())
        if hasattr(last, "savefig"):
            outputs.append(picture(last, number))
        yield outputs


def picture(figure: Any, number: int) -> dict[str, Any]:
    """Return a figure as the output of a cell."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    image = base64.b64encode(drawn.getvalue()).decode()
    return {
        "output_type": "execute_result",
        "execution_count": number,
        "data": {"image/png": image, "text/plain": ["<Figure>"]},
        "metadata": {},
    }


def notebook(cells: list[Cell], outputs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a notebook of cells, with the outputs of its code cells in order."""
    left = iter(outputs)
    found = []
    for number, cell in enumerate(cells):
        one: dict[str, Any] = {
            "cell_type": cell.kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": cell.text.splitlines(keepends=True),
        }
        if cell.kind == "code":
            one |= {"execution_count": None, "outputs": next(left)}
        found.append(one)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Run every source in a folder of its own and write its notebook."""
    import matplotlib

    matplotlib.use("agg")
    here = os.getcwd()
    for source in sources():
        if len(sys.argv) > 1 and source.stem not in sys.argv[1:]:
            continue
        cells = cells_of(source)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                made = notebook(cells, list(run(cells)))
            finally:
                os.chdir(here)
        target = notebook_of(source)
        target.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
