"""Tables of labelled DNA in the common formats, with the position of every row in its file.

Text tables are `.csv`, `.tsv` and `.txt` in UTF-8, plain or compressed; their delimiter is found
in the header, whatever the file is called. `.jsonl` has one object per line; `.parquet` and folders
written by `datasets.Dataset.save_to_disk` are typed. Nothing is taken for a missing value but an
empty cell: "NA" is a sequence of two letters.
"""

import bz2
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from backbone.common.errors import InputError
from tasks.sources.labels import TableCell, cell
from tasks.sources.rows import Missing, PartRows, clean
from tasks.task import Task

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}
"""Delimiters between the columns of a text table."""

TEXT = (".csv", ".tsv", ".txt")
COMPRESSIONS = (".gz", ".bz2", ".zst")
FORMATS = f"{', '.join(TEXT)} or .jsonl, also with {', '.join(COMPRESSIONS)}, or .parquet"
"""What a table may be called, for messages."""

SPLIT_NAMES = {"validation": "dev", "valid": "dev", "val": "dev"}
"""Parts of a division, by the names that data sets have for them; others keep theirs."""


INTERVAL = ("region", "start", "end", "strand")
"""Columns with the coordinates of a row, 0-based and half-open."""


class NoColumn(InputError):
    """A table lacks columns that were asked for.

    Attributes:
        missing: Their names.
    """

    def __init__(self, message: str, missing: Sequence[str]) -> None:
        """Keep the names with the message."""
        super().__init__(message)
        self.missing = tuple(missing)


@dataclass(frozen=True)
class Table:
    """Columns of a table.

    Attributes:
        path: The file, or the folder of a saved data set.
        columns: N cells of each column that was asked for, by the name it was asked for by.
        places: Where each row stands, as "line 2".
        notes: How the file was read, where that is not obvious.
    """

    path: Path
    columns: dict[str, list[TableCell]]
    places: list[str]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> list[str]:
        """Return the cells of a column as text."""
        return [value if isinstance(value, str) else str(value) for value in self.columns[name]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.places)


def read_table(
    path: Path,
    task: Task,
    origin: str,
    *,
    sequence: str = "sequence",
    label: str | Sequence[str] = "label",
    only: tuple[str, str] | None = None,
    group: str | None = None,
    missing: Missing | None = None,
) -> PartRows:
    """Read a table of sequences and labels.

    Args:
        path: The table.
        task: Whose rows they are.
        origin: See `PartRows`.
        sequence: Column of the sequences.
        label: Column of the labels; several columns hold a label each.
        only: A column and the value that rows must have there.
        group: Column of the groups of rows; None for rows on their own.
        missing: See `clean`.

    Raises:
        InputError: If the file is damaged or no table, or one of its rows cannot be used.
    """
    labels = [label] if isinstance(label, str) else list(label)
    needed = [sequence, *labels, *([only[0]] if only else []), *([group] if group else [])]
    table, names = _with_names(path, needed)
    rows: Iterable[tuple[TableCell, TableCell]] = zip(
        table.columns[sequence], label_cells(table, label), strict=True
    )
    places, groups = table.places, table[group] if group else None
    if only:
        kept = [row for row, value in enumerate(table[only[0]]) if value == only[1]]
        if not kept:
            raise InputError(f"{path}: no row has {only[0]}={only[1]}")
        every = list(rows)
        rows, places = (every[row] for row in kept), [places[row] for row in kept]
        names = None if names is None else [names[row] for row in kept]
        groups = None if groups is None else [groups[row] for row in kept]
    return clean(
        rows, task, str(path), origin,
        places=places, names=names, groups=groups, missing=missing, notes=table.notes,
    )  # fmt: skip


def _with_names(path: Path, needed: Sequence[str]) -> tuple[Table, list[str] | None]:
    """Read the columns that are needed, and the names of rows if other columns have them.

    These are in a column `id` or `name`, or coordinates in `region`, `start` and `end`.
    """
    opened, wanted = _opened(path), list(dict.fromkeys(needed))
    free = [column for column in opened.names if column not in wanted]
    columns = [column for column in free if column in ("id", "name")]
    columns = sorted(columns)[:1]
    if not columns and {*INTERVAL[:3]} <= {*free}:
        columns = [column for column in INTERVAL if column in free]
    if not columns:
        return opened.read(wanted), None
    try:
        table = opened.read([*wanted, *columns])
    except InputError:  # of a column that nobody asked for
        return opened.read(wanted), None
    cells = zip(*(table[column] for column in columns), strict=True)
    return table, [one[0] if len(one) == 1 else interval_name(*one) for one in cells]


def interval_name(region: str, start: str, end: str, strand: str = "+") -> str:
    """Return the name of a row that is known by its interval, such as `chr1:10-20(-)`."""
    return f"{region}:{start}-{end}({strand})"


def label_cells(table: Table, label: str | Sequence[str]) -> list[TableCell]:
    """Return the labels of a table's rows: of one column, or a list with a cell of each.

    A row that lacks one of several cells has an empty label.
    """
    if isinstance(label, str):
        return table.columns[label]
    rows = zip(*(table.columns[name] for name in label), strict=True)
    return ["" if "" in row else list(row) for row in rows]


def read_intervals(path: Path, genome: Path, task: Task, origin: str) -> PartRows:
    """Read a table with the columns region, start, end, strand and label, and cut the rows out.

    Intervals are 0-based and half-open; on strand "-" the reverse complement is taken.

    Args:
        path: The table; `region` names a record of the genome.
        genome: FASTA file, plain or bgzip.
        task: Whose rows they are.
        origin: See `PartRows`.

    Raises:
        InputError: If a file is damaged, an interval is not inside the genome, or a row is wrong.
    """
    # Imported here, since most tasks need no genome and pyfaidx brings much with it.
    from backbone.sequence.fasta import Genome

    names = [*INTERVAL, "label"]
    table = read_columns(path, names)
    records = Genome([genome])

    def cut() -> Iterator[tuple[str, str]]:
        columns = (table[name] for name in names)
        for at, region, start, end, strand, label in zip(table.places, *columns, strict=True):
            digits = start.isascii() and start.isdecimal() and end.isascii() and end.isdecimal()
            if strand not in ("+", "-") or not digits:
                raise InputError(
                    f"{path}: {at} has the interval {start}-{end} on strand {strand!r}; "
                    f"start and end must be whole numbers and strand + or -"
                )
            try:
                yield records.sequence(region, int(start), int(end), strand), label
            except InputError as error:
                raise InputError(f"{path}: {at}: {error}") from error

    named = [interval_name(*one) for one in zip(*(table[n] for n in INTERVAL), strict=True)]
    return clean(
        cut(), task, str(path), origin, places=table.places, names=named, notes=table.notes
    )  # fmt: skip


def read_columns(path: Path, names: Sequence[str]) -> Table:
    """Read the named columns of a table.

    A name that no column has, but one column has in another case, stands for that column.

    Raises:
        InputError: If the file is damaged or no table, lacks one of the columns, or has two
            columns of one name.
    """
    return _opened(path).read(list(dict.fromkeys(names)))


def column_names(path: Path) -> list[str]:
    """Return the names of all columns of a table.

    Raises:
        InputError: If the file is damaged or no table.
    """
    return _opened(path).names


def parts_on_disk(path: Path) -> dict[str, Path]:
    """Return the parts of a folder written by `datasets.DatasetDict.save_to_disk`.

    Returns:
        Folders by split name; empty where the path is no such folder.

    Raises:
        InputError: If the folder's list of splits is damaged.
    """
    listing = path / "dataset_dict.json"
    if not listing.is_file():
        return {}
    try:
        return {str(name): path / str(name) for name in json.loads(listing.read_text())["splits"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing}: is damaged; save the data set again") from error


def saved_parts(path: Path) -> dict[str, Path]:
    """Return train, dev and test of a saved data set, whatever their names in it.

    Returns:
        Folders by part; empty where the path is no folder of several splits.

    Raises:
        InputError: If there is no train or no test part, or another that has no place.
    """
    splits = parts_on_disk(path)
    parts = {SPLIT_NAMES.get(name, name): folder for name, folder in splits.items()}
    known = {"train", "dev", "test"}
    if splits and (len(parts) < len(splits) or not set(parts) <= known or "train" not in parts):
        raise InputError(
            f"{path}: holds the parts {', '.join(splits)}, which are not train, validation and "
            f"test; name the folder of each part on its own"
        )
    if "dev" in parts and "test" not in parts:
        raise InputError(f"{path}: has no test part; name the folders of train and test")
    return {"pool": parts["train"]} if set(parts) == {"train"} else parts


def stem(path: Path) -> str:
    """Return the name of a file without its endings, .gz before .tsv."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path).stem


@dataclass(frozen=True)
class _Opened:
    """A table of which the columns are known.

    Attributes:
        names: Of all columns.
        read: Read some of them.
    """

    names: list[str]
    read: Callable[[list[str]], Table]


def _opened(path: Path) -> _Opened:
    if path.is_dir():
        return _open_dataset(path)
    is_compressed = path.suffix.lower() in COMPRESSIONS
    kind = (path.with_suffix("") if is_compressed else path).suffix.lower()
    if kind == ".parquet" and not is_compressed:
        return _open_parquet(path)
    if kind not in (*TEXT, ".jsonl"):
        raise InputError(f"{path}: cannot tell what table this is; it must be {FORMATS}")
    text = _text(path)
    return _open_json_lines(path, text) if kind == ".jsonl" else _open_text(path, text)


def _text(path: Path) -> str:
    suffix = path.suffix.lower()
    try:
        raw = path.read_bytes()
        if suffix == ".gz":
            raw = gzip.decompress(raw)
        elif suffix == ".bz2":
            raw = bz2.decompress(raw)
        elif suffix == ".zst":
            raw = _decompress_zstd(raw)
        text = raw.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the .gz file is truncated or corrupt; fetch it again") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: cannot be read as a table of text: {error}; save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        if path.is_file() and suffix in COMPRESSIONS:
            raise InputError(
                f"{path}: the {suffix} file is truncated or corrupt; fetch it again"
            ) from error
        raise InputError(f"{path}: cannot be read as a table of text: {error}") from error
    if "\0" in text:
        raise InputError(f"{path}: cannot be read as a table of text: it holds zero bytes")
    return text


def _decompress_zstd(raw: bytes) -> bytes:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read()


def _open_text(path: Path, text: str) -> _Opened:
    if not text.strip():
        raise InputError(f"{path}: the file is empty; its first line must name the columns")
    headers: dict[str, list[str]] = {}
    for delimiter in DELIMITERS:
        try:
            _, record = next(_records(path, text, delimiter))
        except InputError as error:  # quotes do not fit every delimiter
            wrong = error
        else:
            headers[delimiter] = [name.strip() for name in record]
    if not headers:
        raise wrong
    # A delimiter that does not stand in the header leaves it one column.
    split = {delimiter: names for delimiter, names in headers.items() if len(names) > 1}
    widest = max(split or headers, key=lambda delimiter: len(headers[delimiter]))

    def read(names: list[str]) -> Table:
        fitting = [
            d for d, header in split.items() if all(_matches(name, header) for name in names)
        ]
        if len(fitting) > 1 and " " in fitting:  # blanks may accompany another delimiter
            fitting.remove(" ")
        if len(fitting) > 1:
            both = " and ".join(DELIMITERS[one] for one in fitting)
            raise InputError(
                f"{path}: the columns {', '.join(names)} can be told apart by {both} alike; write "
                f"the table with one of them"
            )
        delimiter = fitting[0] if fitting else widest
        return _read_text(path, text, delimiter, headers[delimiter], names)

    return _Opened(headers[widest], read)


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that is not empty, with its number; a record is one line."""
    csv.field_size_limit(sys.maxsize)  # sequences are longer than the module's 131,072
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 0
    try:
        for record in reader:
            line += 1
            if reader.line_num > line:
                raise InputError(
                    f"{path}: line {line}: a quoted cell runs on to line {reader.line_num}; a row "
                    f"must be one line"
                )
            if record:
                yield line, record
    except csv.Error as error:
        raise InputError(
            f"{path}: line {line + 1}: not a table with one row per line: {error}"
        ) from error


def _read_text(path: Path, text: str, delimiter: str, header: list[str], names: list[str]) -> Table:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: two columns are called {' and two '.join(twice)}; rename or remove one"
        )
    found, notes = _find_columns(path, names, header)
    unnamed = [number for number, name in enumerate(header, start=1) if not name]
    if unnamed:
        plural = "columns" if len(unnamed) > 1 else "column"
        numbers = ", ".join(map(str, unnamed))
        notes.append(f"{path.name}: {plural} {numbers} without a name not read")
    columns: dict[str, list[TableCell]] = {name: [] for name in names}
    places = [(name, header.index(found[name])) for name in names]
    lines = []
    for line, record in islice(_records(path, text, delimiter), 1, None):
        if len(record) > len(header):
            raise InputError(
                f"{path}: line {line} has {len(record)} cells and the header "
                f"{len(header)} {'column' if len(header) == 1 else 'columns'}; remove what is too "
                f"much, or name its column"
            )
        for name, place in places:
            value = record[place].strip() if place < len(record) else ""
            if '"' in value:
                raise InputError(
                    f"{path}: line {line}: the column {name} has a quotation mark inside, "
                    f"{value[:20]!r}; quotes must enclose the whole cell"
                )
            columns[name].append(value)
        lines.append(f"line {line}")
    return Table(path, columns, lines, tuple(notes))


def _open_json_lines(path: Path, text: str) -> _Opened:
    rows: dict[int, dict[str, Any]] = {}
    for line, one in enumerate(StringIO(text, newline=None), start=1):
        if one.strip():
            try:
                row = json.loads(
                    one, parse_float=str, parse_constant=_refuse, object_pairs_hook=_once
                )
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: line {line}: not a JSON object: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {line}: not a JSON object with one key per column")
            rows[line] = row
    if not rows:
        raise InputError(f"{path}: the file is empty; each line must be a JSON object")
    header = list(dict.fromkeys(name for row in rows.values() for name in row))

    def read(names: list[str]) -> Table:
        found, notes = _find_columns(path, names, header)
        values = {name: [row.get(found[name]) for row in rows.values()] for name in names}
        return _typed(path, values, [f"line {line}" for line in rows], notes)

    return _Opened(header, read)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


def _open_parquet(path: Path) -> _Opened:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        header = [str(name) for name in parquet.read_schema(path).names]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {_first_line(error)}") from error

    def read(names: list[str]) -> Table:
        found, notes = _find_columns(path, names, header)
        try:
            table = parquet.read_table(path, columns=list(found.values()))
            values = {name: table.column(found[name]).to_pylist() for name in names}
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {_first_line(error)}") from error
        return _typed(path, values, _rows(table.num_rows), notes)

    return _Opened(header, read)


def _open_dataset(path: Path) -> _Opened:
    splits = parts_on_disk(path)
    if splits:
        raise InputError(
            f"{path}: holds the parts {', '.join(splits)}; name the folder of one, such as "
            f"{path / next(iter(splits))}"
        )
    if not (path / "state.json").is_file():
        raise InputError(f"{path}: is a folder, and not one that datasets' save_to_disk wrote")
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read as a saved data set: {_first_line(error)}"
        ) from error

    def read(names: list[str]) -> Table:
        found, notes = _find_columns(path, names, saved.column_names)
        values = {name: list(saved[found[name]]) for name in names}
        for name in names:
            kind = saved.features[found[name]]
            if isinstance(kind, datasets.ClassLabel):  # -1 is the library's "no label"
                values[name] = [
                    None if one is None or one < 0 else kind.int2str(one) for one in values[name]
                ]
        return _typed(path, values, _rows(len(saved)), notes)

    return _Opened(list(saved.column_names), read)


def _rows(count: int) -> list[str]:
    return [f"row {row}" for row in range(1, count + 1)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _typed(path: Path, values: dict[str, list[Any]], places: list[str], notes: list[str]) -> Table:
    columns: dict[str, list[TableCell]] = {}
    for name, given in values.items():
        columns[name] = []
        for place, one in zip(places, given, strict=True):
            try:
                columns[name].append(cell(one))
            except InputError as error:
                raise InputError(f"{path}: {place}: {name} is {error}") from error
    return Table(path, columns, places, tuple(notes))


def _matches(name: str, header: Sequence[str]) -> list[str]:
    """The columns that match a name: exactly, or else those that differ only in case."""
    return [name] if name in header else [c for c in header if c.lower() == name.lower()]


def _find_columns(
    path: Path, names: Sequence[str], header: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """The column that matches each name, and notes about those that differ in case."""
    found, notes = {}, []
    for name in names:
        matches = _matches(name, header)
        if len(matches) > 1:
            raise InputError(
                f"{path}: {name} may be any of the columns {', '.join(matches)}; rename one"
            )
        if matches:
            found[name] = matches[0]
            if matches[0] != name:
                notes.append(f"{path.name}: the column {matches[0]} read as {name}")
    missing = [name for name in names if name not in found]
    if missing:
        text = (
            f"{path}: no column {' and no column '.join(missing)}; the columns must include "
            f"{','.join(names)} and are {','.join(header)[:200]}"
        )
        if any(len(name) > 7 and not set(name.upper()) - set("ACGTUN") for name in header):
            raise InputError(
                f"{text}; the first line looks like a row: add a line above it that names the "
                f"columns"
            )
        raise NoColumn(text, missing)
    if len(set(found.values())) < len(found):
        raise InputError(f"{path}: two of {', '.join(names)} are one column")
    return found, notes
