"""The page of a folder of runs: curves, controls, every run with its command, in one HTML file.

`python -m experiments.report runs=DIR` writes DIR/report.html. It needs the extra `page`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from experiments.common.command import run_command
from experiments.common.points import read_runs
from experiments.page.html import page


@dataclass
class Options:
    """What the command line can set."""

    runs: str = option("runs", "folder of the reports, as out= of python -m icl.run")
    out: str = option("", "file that receives the page; report.html in that folder if not given")
    title: str = option("", "heading of the page")


def report(options: Options) -> list[Path]:
    """Writes the page of a folder of runs; names damaged reports on standard error.

    Returns:
        The path of the page.

    Raises:
        InputError: For no reports, a folder that cannot be written, or without the extra `page`.
    """
    folder = Path(options.runs).expanduser()
    frame, skipped = read_runs(options.runs)
    title = options.title or f"Runs of {folder.resolve().name}"
    named = [line.replace(f"{folder}/", "") for line in skipped]  # the page may be shared
    text = page(frame, title=title, folder=folder, skipped=named)
    out = Path(options.out).expanduser() if options.out else folder / "report.html"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return [out]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    return run_command("python -m experiments.report", Options, report, arguments)


if __name__ == "__main__":
    sys.exit(main())
