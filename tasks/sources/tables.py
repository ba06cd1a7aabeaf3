"""Tables of labelled DNA: sequences in the table itself, or intervals to cut out of a genome."""

import gzip
import zlib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from backbone.common.errors import InputError
from tasks.sources.rows import Rows, clean
from tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".tsv": "\t", ".csv": ","}
"""What a table file may be called, each also with `.gz`, and what stands between its columns."""


def read_table(
    path: Path,
    task: Task,
    origin: str,
    *,
    sequence: str = "sequence",
    label: str = "label",
    only: tuple[str, str] | None = None,
) -> Rows:
    """Read a table of sequences and labels.

    Nothing is taken for a missing value: "NA" is a sequence of two letters.

    Args:
        path: The table.
        task: Whose rows they are.
        origin: See `Rows`.
        sequence: Column of the sequences.
        label: Column of the labels.
        only: A column and the value that rows must have there.

    Raises:
        InputError: If the file is damaged or no table, or one of its rows cannot be used.
    """
    table = read_columns(path, [sequence, label, *([only[0]] if only else [])])
    if only:
        table = table[table[only[0]] == only[1]]
        if table.empty:
            raise InputError(f"{path}: no row has {only[0]}={only[1]}")
    return clean(zip(table[sequence], table[label], strict=True), task, str(path), origin)


def read_intervals(path: Path, genome: Path, task: Task, origin: str) -> Rows:
    """Read a table with the columns region, start, end, strand and label, and cut the rows out.

    Intervals are 0-based and half-open; on strand "-" the reverse complement is taken.

    Args:
        path: The table; `region` names a record of the genome.
        genome: FASTA file, plain or bgzip.
        task: Whose rows they are.
        origin: See `Rows`.

    Raises:
        InputError: If a file is damaged, an interval is not inside the genome, or a row is wrong.
    """
    # Imported here, since most tasks need no genome and pyfaidx brings much with it.
    from backbone.sequence.fasta import Genome

    names = ["region", "start", "end", "strand", "label"]
    table = read_columns(path, names)
    records = Genome([genome])

    def cut() -> Iterator[tuple[str, str]]:
        columns = (table[name] for name in names)
        for row, (region, start, end, strand, label) in enumerate(zip(*columns, strict=True), 1):
            if strand not in ("+", "-") or not (start.isdecimal() and end.isdecimal()):
                raise InputError(
                    f"{path}: row {row} has the interval {start}-{end} on strand {strand!r}; "
                    f"start and end must be whole numbers and strand + or -"
                )
            try:
                yield records.sequence(region, int(start), int(end), strand), label
            except InputError as error:
                raise InputError(f"{path}: row {row}: {error}") from error

    return clean(cut(), task, str(path), origin)


def read_columns(path: Path, names: list[str]) -> "pd.DataFrame":
    """The named columns of a table, as text; nothing is taken for a missing value.

    Raises:
        InputError: If the file is damaged or no table, lacks one of the columns, or has two
            columns of one name.
    """
    table = _read(path)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: no column {' and no column '.join(missing)}; the columns must include "
            f"{','.join(names)} and are {','.join(map(str, table.columns))[:200]}"
        )
    return table[names]


def column_names(path: Path) -> list[str]:
    """The names of all columns of a table.

    Raises:
        InputError: If the file is damaged or no table.
    """
    return list(_read(path, rows=0).columns)


def _read(path: Path, rows: int | None = None) -> "pd.DataFrame":
    """A table as text, or so many of its rows."""
    import pandas as pd

    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in SEPARATORS:
        raise InputError(f"{path}: cannot tell what table this is; call it .tsv, .csv or add .gz")
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the .gz file is truncated or corrupt; fetch it again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table of text: {error}") from error
    header = text.partition("\n")[0].strip("\r").split(SEPARATORS[kind])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: two columns are called {' and two '.join(twice)}; rename or remove one"
        )
    try:
        table = pd.read_csv(
            StringIO(text), sep=SEPARATORS[kind], dtype=str, keep_default_na=False,
            na_filter=False, index_col=False, nrows=rows,
        )  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise InputError(
            f"{path}: the file is empty; its first line must name the columns"
        ) from error
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a table with one row a line: {reason}") from error
    return table
