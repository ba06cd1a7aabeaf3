"""`--json`: the result of a command as one JSON object on standard output.

While such a command works, what it prints for people goes to standard error. The object has the
keys of `Result.as_json`; NaN and infinities are null.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JSON = "--json"
"""Taken by every command."""

JSON_HELP = "the result as one JSON object on standard output"

TABLE_BYTES = 1_000_000
"""Size up to which a table that was written is also part of the object."""

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass
class Result:
    """What a command found.

    Attributes:
        lines: What it would have printed, line by line.
        files: What it wrote.
        values: Further values by their names, such as the runs of `icl.run`.
        error: The line about a mistake, if there was one.
    """

    lines: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def add(self, item: object) -> None:
        """Take what the work of a command returned: a file, values by name, or a line."""
        if isinstance(item, Path):
            self.files.append(item)
        elif isinstance(item, Mapping):
            self.values |= item
        else:
            self.lines.append(str(item))

    def as_json(self, code: int) -> str:
        """Return the object as text.

        Its keys are `exit_code`, `error` (null unless the exit code is 2), `lines`, `files`,
        `tables` (rows of the .csv and .tsv files among them, by path, up to TABLE_BYTES), and the
        command's own.
        """
        tables = {str(path): list(_rows(path)) for path in self.files if _is_table(path)}
        found = {
            "exit_code": code,
            "error": self.error,
            "lines": self.lines,
            "files": [str(path) for path in self.files],
            "tables": tables,
            **self.values,
        }
        return json.dumps(_strict(found), indent=2, allow_nan=False)


_ASKED: ContextVar[Result | None] = ContextVar("asked", default=None)


def asked() -> Result | None:
    """Return the result that is being collected; None where lines are printed instead."""
    return _ASKED.get()


@contextmanager
def collecting() -> Iterator[Result]:
    """Collect what commands return inside the block."""
    token = _ASKED.set(Result())
    try:
        result = _ASKED.get()
        assert result is not None
        yield result
    finally:
        _ASKED.reset(token)


def _is_table(path: Path) -> bool:
    return path.suffix in DELIMITERS and path.is_file() and path.stat().st_size <= TABLE_BYTES


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter=DELIMITERS[path.suffix]):
            yield {str(name): _value(text) for name, text in row.items()}


def _value(text: str | None) -> Any:
    """Return a cell of a table as a number where it is one, and null where it is empty."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            pass
    return text or None


def _strict(value: Any) -> Any:
    """Return a value that JSON can have: NaN and infinities are null, paths are text."""
    if isinstance(value, Mapping):
        return {str(name): _strict(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
