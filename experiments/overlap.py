"""Labelled rows that lie within a model's pretraining data.

`python -m experiments.overlap fasta=[...] tables=[...]` counts, for each table, the rows that occur
exactly in the training regions and in the held-out regions, on either strand. A row can occur in
both, as repeats do; very short rows occur everywhere. Specify regions as for
`python -m backbone.pretrain`.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from backbone.common.command import entry_point
from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.options import Sources, option
from backbone.pretraining.windows import divide
from backbone.sequence.dna import normalise
from backbone.sequence.fasta import Genome, Region
from experiments.common.command import run_command
from tasks.audit.exposure import SEED, occurrences
from tasks.sources.tables import read_columns


@dataclass
class Options(Sources):
    """Options of the command."""

    tables: list[str] = option([], "labelled tables: files or globs, relative to data (required)")
    data: str = option(".", "folder that tables= is relative to")
    out: str = option("overlap.csv", "file to which the counts are written")
    intervals: str | None = option(
        None,
        "BED file to which the positions of rows of 32 bases or more are written (for exclude=)",
    )


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
    parts = {"train": division.train, "held out": division.valid}

    places = {part: _places(division.genome, regions, unique) for part, regions in parts.items()}
    train, held_out = ({place.sequence for place in places[part]} for part in parts)
    if options.intervals is not None:
        _write(Path(options.intervals).expanduser(), _bed(places["train"]))
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


@dataclass(frozen=True)
class Place:
    """Where a labelled sequence lies: 0-based start on its record."""

    record: str
    start: int
    sequence: str


def _places(genome: Genome, regions: Sequence[Region], sequences: Sequence[str]) -> list[Place]:
    """Find every place at which a sequence occurs in some regions, on either strand."""
    search = occurrences(sequences)
    return [
        Place(region.record.name, region.start + start, sequences[number])
        for region in regions
        for number, start in search(
            genome.letters(region.record)[region.start : region.end].tobytes()
        )
    ]


def _bed(places: Sequence[Place]) -> str:
    """Return the union of places as lines of BED; very short rows occur everywhere."""
    ends: dict[str, list[list[int]]] = {}
    for place in sorted(places, key=lambda place: (place.record, place.start)):
        if len(place.sequence) < SEED:
            continue
        spans = ends.setdefault(place.record, [])
        end = place.start + len(place.sequence)
        if spans and place.start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([place.start, end])
    return "".join(
        f"{record}\t{start}\t{end}\n" for record, spans in ends.items() for start, end in spans
    )


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


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
    _write(out, table.to_csv(index=False))
    return [table.to_string(index=False), out]


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, or 2 after one line about a mistake."""
    return run_command("python -m experiments.overlap", Options, write_overlap, arguments)


if __name__ == "__main__":
    sys.exit(main())
