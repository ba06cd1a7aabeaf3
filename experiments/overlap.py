"""Labelled rows that lie within a model's pretraining data.

`python -m experiments.overlap fasta=[...] tables=[...]` counts, for each table, the rows that occur
exactly in the training regions and in the held-out ones, on either strand. A row can occur in both:
repeats do, and very short rows occur everywhere. Regions are given as to
`python -m backbone.pretrain`.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import Sources, option
from backbone.pretraining.windows import divide
from backbone.sequence.dna import normalise
from backbone.sequence.fasta import Region
from experiments.common.command import run_command
from tasks.audit.exposure import occurring
from tasks.sources.tables import read_columns


@dataclass
class Options(Sources):
    """Options of the command."""

    tables: list[str] = option([], "labelled tables: files or globs, below data (required)")
    data: str = option(".", "folder of the tables, whose names are relative to it")
    out: str = option("overlap.csv", "file that receives the counts")


def overlap(options: Options) -> pd.DataFrame:
    """Count the rows of each table that lie inside the training and the held-out regions.

    Returns:
        A table with the columns file, rows, rows_in_train, rows_in_held_out.

    Raises:
        InputError: If files are missing or cannot be read.
    """
    if not options.tables:
        raise InputError("tables= is missing; it names the labelled tables")
    folder = Path(options.data).expanduser()
    files = _files(folder, options.tables)
    division = divide(options.fasta, options.valid_fasta, options.holdout, options.bed)
    sequences = {file: _sequences(file) for file in files}
    unique = sorted({sequence for rows in sequences.values() for sequence in rows})

    def inside(regions: Sequence[Region]) -> set[str]:
        letters = (division.genome.letters(r.record)[r.start : r.end].tobytes() for r in regions)
        hits = np.flatnonzero(occurring(unique, letters))
        return {unique[hit] for hit in hits}

    train, held_out = inside(division.train), inside(division.valid)
    return pd.DataFrame(
        [
            {
                "file": file.relative_to(folder).as_posix(),
                "rows": len(rows),
                "rows_in_train": sum(row in train for row in rows),
                "rows_in_held_out": sum(row in held_out for row in rows),
            }
            for file, rows in sequences.items()
        ]
    )


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files below a folder that match the patterns, each once, in order."""
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern, root_dir=folder))
        if not found:
            raise InputError(f"no table at {pattern!r} below {folder}; give files or globs")
        files += [folder / name for name in found]
    return list(dict.fromkeys(files))


def _sequences(file: Path) -> list[str]:
    """Return the cleaned sequences of a table."""
    try:
        raw = read_columns(file, ["sequence"])["sequence"]
        return [normalise(text.strip(), row)[0] for row, text in enumerate(raw, start=1)]
    except InputError as error:
        message = str(error)
        raise InputError(message if str(file) in message else f"{file}: {message}") from error


def write_overlap(options: Options) -> list[object]:
    """Count, write the table and return it with its path.

    Raises:
        InputError: If files are missing, or the table cannot be written.
    """
    table = overlap(options)
    out = Path(options.out).expanduser()
    try:
        write_text(out, table.to_csv(index=False))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return [table.to_string(index=False), out]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.overlap", Options, write_overlap, arguments)


if __name__ == "__main__":
    sys.exit(main())
