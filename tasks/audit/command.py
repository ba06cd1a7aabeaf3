"""python -m tasks check NAME data=DIR: audit a task before you claim anything.

Prints the findings and a summary, and writes to the folder `out`: `audit_NAME.json` with all
numbers, `audit_NAME.csv` with a line for each question (shown by `experiments.report`), and
`clean_NAME.tsv` with the rows of the clean split, numbered from 0 in the order of each split.
"""

import csv
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backbone.common.command import emit, entry_point, exit_code
from backbone.common.errors import InputError
from backbone.common.files import json_text, write_text
from backbone.common.options import help_text, option, read_options
from backbone.common.plugins import load_plugins
from tasks.audit.exposure import BUNDLED
from tasks.audit.findings import Audit, audit
from tasks.audit.kinship import NONE, kinship
from tasks.audit.wording import Line, lines, verdict
from tasks.catalog import TASKS, load_task
from tasks.registry import build_task, options_class
from tasks.task import Splits, Task, data_folder

COMMAND = "python -m tasks check NAME"
STYLES = {"leak": "bold red", "labels": "bold red", "shortcut": "yellow", "few": "yellow", "": ""}


@dataclass
class Options:
    """Options of the command; a task's own options are given as task.OPTION=VALUE."""

    data: str | None = option(None, "folder of tables; falls back to the variable ICL_DATA")
    out: str = option(
        "runs", "folder to which audit_NAME.json, audit_NAME.csv and clean_NAME.tsv are written"
    )
    pretraining: str | None = option(
        None, "BED file of pretraining regions; by default the bundled one"
    )
    corpus: list[str] = option([], "pretraining data to search: FASTA files, folders or globs")
    split_seed: int = option(0, "seed of the random split, if the task has no split of its own")


def audit_task(
    name: str,
    data: str | Path | None = None,
    *,
    split_seed: int = 0,
    pretraining: str | Path | None = None,
    corpus: Sequence[str] = (),
    **options: Any,
) -> Audit:
    """Audit a task: relatives across splits, shortcuts, exposure to pretraining.

    Args:
        name: Name or alias of the task.
        data: Folder of tables, or one table; falls back to the variable ICL_DATA.
        split_seed: Seed of the random split, if the task has no split of its own.
        pretraining: BED file of the regions that a checkpoint saw; None is the bundled backbone's.
        corpus: FASTA files, folders or globs of its pretraining data, to search in.
        **options: The task's own options, as for `tasks.load_task`.

    Returns:
        All findings; `tasks.audit.wording.lines` and `verdict` put them into words.

    Raises:
        InputError: If the name, an option or the rows cannot be used.
    """
    task = load_task(name, **options)
    folder = data_folder(None if data is None else str(data))
    return _audited(task, task.splits(split_seed, folder), folder, pretraining, corpus)


def _audited(
    task: Task,
    splits: Splits,
    data: Path | None,
    pretraining: str | Path | None,
    corpus: Sequence[str],
) -> Audit:
    regions = Path(pretraining).expanduser() if pretraining else BUNDLED
    return audit(task, splits, data, regions=regions, corpus=list(corpus))


def check(name: str, arguments: Sequence[str]) -> list[Path]:
    """Audit a task, print the findings and write them.

    Args:
        name: Of a registered task or family.
        arguments: Options as `key=value`.

    Returns:
        The files written.

    Raises:
        InputError: If the options or the rows cannot be used; nothing is then written.
    """
    own = [word.removeprefix("task.") for word in arguments if word.startswith("task.")]
    options = read_options(Options, [word for word in arguments if not word.startswith("task.")])
    canonical = TASKS.get(name).name
    task = build_task(read_options(options_class(name), [f"name={canonical}", *own]))
    data = data_folder(options.data)
    start = time.perf_counter()
    splits = task.splits(options.split_seed, data)
    found = _audited(task, splits, data, options.pretraining, options.corpus)
    seconds = time.perf_counter() - start
    files = _write(Path(options.out).expanduser(), task, splits, found)
    _print(found, seconds)
    for file in files:
        emit(file)
    return files


def _write(out: Path, task: Task, splits: Splits, found: Audit) -> list[Path]:
    names = (f"audit_{task.name}.json", f"audit_{task.name}.csv", f"clean_{task.name}.tsv")
    files = [out / name for name in names]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in zip(files, (_json(found), _csv(found), _clean(splits)), strict=True):
            write_text(file, text)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror}") from error
    return files


def _json(found: Audit) -> str:
    said = {"lines": [asdict(line) for line in lines(found)], "verdict": verdict(found)}
    return json_text(asdict(found) | said)


def _csv(found: Audit) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["task", "question", "rows", "answer", "finding"])
    for sentence in verdict(found):
        table.writerow([found.task, "verdict", "", sentence, ""])
    for line in lines(found):
        table.writerow([found.task, *asdict(line).values()])
    return text.getvalue()


def _clean(splits: Splits) -> str:
    """Return split and number of every row of the clean split."""
    kept = {
        "train": np.arange(len(splits.train)),
        "val": np.arange(len(splits.val)),
        "test": np.flatnonzero(kinship(splits).test == NONE),
    }
    rows = [f"{split}\t{row}\n" for split, numbers in kept.items() for row in numbers]
    return "split\trow\n" + "".join(rows)


def _print(found: Audit, seconds: float) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    table = Table(title=f"Audit of {found.task} ({seconds:.1f} s)", title_justify="left")
    for name in ("question", "rows", "answer", "finding"):
        table.add_column(name)
    shown = lines(found)
    for line, before in zip(shown, [None, *shown], strict=False):
        table.add_row(*_cells(line, before), style=STYLES[line.finding])
    console.print(table)
    console.print(Text(found.origin), style="dim")
    console.print()
    for sentence in verdict(found):
        console.print(Text(sentence), style="bold")


def _cells(line: Line, before: Line | None) -> list[str]:
    """Return the cells of a row, without repeating the question of the row above."""
    again = before is not None and before.question == line.question
    return ["" if again else line.question, line.rows, line.answer, line.finding]


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line of `check`; return 0, or 2 after one line about a mistake."""
    if not words or {"-h", "--help"} & set(words):
        print(help_text(Options, COMMAND))
        return 0

    def work() -> None:
        name, *rest = load_plugins(words) or [words[0]]
        if "=" in name:
            raise InputError(f"expected a task name, got {name!r}: {COMMAND} ...")
        check(name, rest)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
