"""The HTML report of a folder of runs: curves, controls, every run with its command, in one file.

`python -m experiments.report runs=DIR` writes DIR/report.html. It needs the extra `page`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import option
from experiments.common.command import run_command
from experiments.common.points import read_runs
from experiments.page.html import page


@dataclass
class Options:
    """Options of the command."""

    runs: str = option("runs", "folder of the runs, as out= of python -m icl.run")
    out: str | None = option(None, "HTML file to write; by default report.html in runs")
    title: str | None = option(None, "heading of the report; by default it names the tasks")


def report(options: Options) -> list[Path]:
    """Write the page of a folder of runs; name damaged reports on standard error.

    Returns:
        The path of the page.

    Raises:
        InputError: If there are no reports, the file cannot be written, or the extra `page` is
            missing.
    """
    folder = Path(options.runs).expanduser()
    frame, damaged = read_runs(folder)
    text = page(frame, title=options.title, folder=folder, skipped=damaged)
    out = Path(options.out).expanduser() if options.out else folder / "report.html"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return [out]


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command(
        "python -m experiments.report", Options, report, arguments, without_arguments="work"
    )


if __name__ == "__main__":
    sys.exit(main())
