"""Which labelled rows lie inside the sequence that a model was trained on.

`python -m experiments.overlap fasta=[...] tables=[...]` counts, for each table, the rows that occur
letter by letter in the training regions and in the held-out ones, on either strand. A row can be in
both: repeats are, and rows of a few letters are everywhere. Regions are given as to
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
from backbone.common.options import Sources, help_text, option, read_options
from backbone.pretraining.windows import divide
from backbone.sequence.dna import normalise
from backbone.sequence.fasta import Region
from tasks.audit.exposure import occurring
from tasks.sources.tables import read_columns


@dataclass
class Options(Sources):
    """What the command line can set."""

    tables: list[str] = option([], "labelled tables: files or globs, below data (required)")
    data: str = option(".", "folder below which the tables lie, and from which they are named")
    out: str = option("overlap.csv", "file that receives the counts")


def overlap(options: Options) -> pd.DataFrame:
    """Counts the rows of each table that lie inside the training and the held-out regions.

    Returns:
        A table with the columns file, rows, rows_in_train, rows_in_held_out.

    Raises:
        InputError: For files that are missing or cannot be read.
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
    """The files that the patterns name below a folder, each once, in order."""
    files: list[Path] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern, root_dir=folder))
        if not found:
            raise InputError(f"no table at {pattern!r} below {folder}; give files or globs")
        files += [folder / name for name in found]
    return list(dict.fromkeys(files))


def _sequences(file: Path) -> list[str]:
    """The cleaned sequences of a table."""
    try:
        raw = read_columns(file, ["sequence"])["sequence"]
        return [normalise(text.strip(), row)[0] for row, text in enumerate(raw, start=1)]
    except InputError as error:
        message = str(error)
        raise InputError(message if str(file) in message else f"{file}: {message}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 after one line about what is wrong with the input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or {"-h", "--help"} & set(arguments):
        print(help_text(Options, "python -m experiments.overlap"))
        return 0
    try:
        options = read_options(Options, arguments)
        table = overlap(options)
        out = Path(options.out).expanduser()
        try:
            write_text(out, table.to_csv(index=False))
        except OSError as error:
            raise InputError(f"cannot write {out}: {error.strerror}") from error
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table.to_string(index=False))
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
