"""Labels as files write them: missing values, numbers, and their meaning for a task.

A label is compared as it is written, without the blanks around it, or, where the classes are
numbers, by value; it is never taken for a position in a sorted list. A number that stands for a
class with a name is read by its position only where the order of the classes was declared.
"""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from tasks.task import Kind, Task

TableCell = str | list[Any]
"""The value of a table cell: stripped text, or a list."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_PADDED = re.compile(r"\+|[+-]?0[0-9]")
_BIT = re.compile(r"([01])(?:\.0*)?")
_SEPARATOR = re.compile("[,;|]")

MISSING_WORDS = {"na", "n/a", "#n/a", "<na>", "nan", "null", "none"}
"""What other programs write for a missing value, in lower case; as a label it is refused."""

LISTED = 12
"""Classes that a message lists; of more, the first ones."""


def cell(value: object) -> TableCell:
    """Return a value of a table as a cell; None and NaN are empty text.

    Raises:
        InputError: If it is neither a scalar nor a list.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict | bytes | set):
        raise InputError(f"{str(value)[:20]!r}, which is neither text nor a number nor a list")
    return str(value)


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or text of nothing but blanks."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_number(text: str) -> Decimal | None:
    """Return the number that a text writes in ASCII digits, exactly; None if it writes none.

    What only Python takes for a number (`1_0`, `inf`, digits of other scripts) is none.
    """
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def find_labels(
    kind: Kind,
    cells: Sequence[TableCell],
    column: str,
    where: str,
    places: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Find the labels of a task in the label column of its training rows.

    Args:
        kind: What a row's label is.
        cells: The column; empty cells are passed over.
        column: Its name.
        where: File, for messages.
        places: Where each cell stands, as "line 2"; None counts rows from 1.

    Returns:
        For classes the different values, numbers by value and names by alphabet; for multi-label
        rows `column_1`, `column_2` and so on; for regression the column's name.

    Raises:
        InputError: If there are no labels, or they are not what the kind needs.
    """
    place = [f"row {row}" for row in range(1, len(cells) + 1)] if places is None else places
    given = [(at, value) for at, value in zip(place, cells, strict=True) if value != ""]
    if not given:
        what = "no labels in" if cells else "no rows below the header of"
        raise InputError(f"{where}: {what} the table; give a table that has some")
    if kind == "regression":
        return (column,)
    if kind == "multi_label":
        at, value = given[0]
        bits = _bits(value)
        if bits is None:
            raise InputError(f"{where}: {at} has the label {_shown(value)}; {_BITS_FORM}")
        return tuple(f"{column}_{i}" for i in range(1, len(bits) + 1))
    return _find_classes(given, where)


def _find_classes(given: Sequence[tuple[str, TableCell]], where: str) -> tuple[str, ...]:
    first: dict[str, str] = {}
    for at, value in given:
        if isinstance(value, list):
            raise InputError(
                f"{where}: {at} has a list as its label; where rows have several labels, give "
                f"task.kind=multi_label"
            )
        first.setdefault(value, at)
    for text, at in first.items():
        if text.casefold() in MISSING_WORDS:
            count = sum(value == text for _, value in given)
            raise InputError(
                f"{where}: {_rows(count)} the label {text!r} (first: {at}), which often stands for "
                f"a missing label: leave such cells empty, or, if it is a class, name all classes "
                f"in task.labels=[...]"
            )
    numbers = {text: number for text in first if (number := as_number(text)) is not None}
    spelling: dict[Decimal, str] = {}
    for text, number in numbers.items():
        other = spelling.setdefault(number, text)
        if other != text:
            raise InputError(
                f"{where}: {first[other]} has the label {other!r} and {first[text]} {text!r}, one "
                f"number written in two ways; write it in one"
            )
    names = [text for text in first if text not in numbers]
    if numbers and names:
        number_text = next(iter(numbers))
        raise InputError(
            f"{where}: {first[number_text]} has the number {number_text!r} as its label and "
            f"{first[names[0]]} the name {names[0]!r}; give task.labels=[...], all classes in "
            f"order: numbers are then positions in it, or names where they are listed"
        )
    classes = sorted(numbers, key=numbers.__getitem__) if numbers else sorted(names)
    if len(classes) < 2:
        raise InputError(f"{where}: all rows have the label {classes[0]!r}; give two classes")
    if len(classes) > max(20, len(given) / 2):
        raise InputError(
            f"{where}: {len(classes)} different labels in {len(given)} rows are not classes; to "
            f"predict numbers give task.kind=regression"
        )
    return tuple(classes)


def check_labels(labels: Sequence[str], kind: Kind) -> tuple[str, ...]:
    """Return the labels that a user declares, without the blanks around them.

    Raises:
        InputError: If they cannot be the labels of a task of this kind.
    """
    names = [label.strip() for label in labels]
    given = f"task.labels=[{','.join(names)}]"
    if kind == "regression":
        raise InputError(f"{given}: task.kind=regression has no classes; leave it out")
    if "" in names:
        raise InputError(f"{given}: a label is empty")
    numbers = [number for name in names if (number := as_number(name)) is not None]
    if len(set(names)) < len(names) or len(set(numbers)) < len(numbers):
        raise InputError(f"{given}: a label is given twice")
    if kind == "classes" and len(names) < 2:
        raise InputError(f"{given}: give two classes")
    return tuple(names)


class LabelReader:
    """Reads the labels of one file for a task, and remembers how.

    Args:
        task: Whose labels they are.
    """

    def __init__(self, task: Task) -> None:
        """Start with nothing read."""
        self._task = task
        self._read: Callable[[object], Any] = {
            "classes": self._class,
            "multi_label": self._labels,
            "regression": self._number,
        }[task.kind]
        self._index = {name: i for i, name in enumerate(task.labels)}
        self._numbers = {
            number: name for name in task.labels if (number := as_number(name)) is not None
        }
        self._spelling: dict[Decimal, str] = {}
        self._codes: dict[str, str] = {}
        self._by_value: dict[str, str] = {}

    def __call__(self, given: object) -> Any:
        """Return a value as the label of an `Example`.

        Raises:
            InputError: If it does not fit the task; the message begins with the value.
        """
        return self._read(given.tolist() if isinstance(given, np.ndarray | np.generic) else given)

    def summary(self) -> str:
        """Return how the labels were read, as text."""
        labels = self._task.labels
        if self._task.kind == "regression":
            return f"numbers ({labels[0]})"
        if self._task.kind == "multi_label":
            return f"{len(labels)} labels per row, each 0 or 1 ({_list(labels)})"
        if self._codes:
            order = sorted(self._codes, key=Decimal)
            codes = [f"{code} = {self._codes[code]}" for code in order]
            return f"numbers are positions in the task's labels ({_list(codes)})"
        if self._by_value:
            order = sorted(self._by_value, key=Decimal)
            pairs = [f"{text} = {self._by_value[text]}" for text in order]
            return f"{len(labels)} classes, numbers compared by value ({_list(pairs)})"
        named = "numbers" if self._numbers else "names"
        folded = [name.casefold() for name in labels]
        twins = [name for name in labels if folded.count(name.casefold()) > 1]
        case = f"; {_list(twins)} differ only in case" if twins else ""
        return f"{len(labels)} classes, {named} as written ({_list(labels)}){case}"

    def _class(self, given: object) -> int:
        text = cell(given)
        if isinstance(text, list):
            raise InputError(f"{_shown(text)}, a list; the task has one class per row")
        number = as_number(text)
        if number is not None:
            other = self._spelling.setdefault(number, text)
            if other != text:
                raise InputError(
                    f"{text!r} where another row has {other!r}, one number written in two ways; "
                    f"write it in one"
                )
        if text in self._index:
            return self._index[text]
        if number is not None and number in self._numbers:
            name = self._numbers[number]
            if _PADDED.match(text) or _PADDED.match(name):
                raise InputError(
                    f"{text!r} and the task the class {name!r}, one number written in two ways; "
                    f"write it in one"
                )
            self._by_value[text] = name
            return self._index[name]
        if number is not None and not self._numbers and self._task.label_order == "declared":
            position = int(number) if number == number.to_integral_value() else -1
            if 0 <= position < len(self._index) and not _PADDED.match(text):
                self._codes[text] = self._task.labels[position]
                return position
        raise InputError(f"{text!r}, {self._unknown(text, number)}")

    def _unknown(self, text: str, number: Decimal | None) -> str:
        labels = self._task.labels
        if self._task.label_order == "declared":
            declared = [f"{i} ({name})" for i, name in enumerate(labels)]
            return (
                "which the task does not declare; its labels are "
                f"{_list(labels if self._numbers else declared)}"
            )
        if (number is None) == bool(self._numbers):
            written = "a name" if number is None else "a number"
            others = "numbers" if number is None else "names"
            return (
                f"{written}, where the classes of train are {others} ({_list(labels)}); if numbers "
                f"stand for names, give task.labels=[...], the names in the order of their numbers "
                f"from 0"
            )
        return f"which no row of train has ({suggestion(text, labels)})"

    def _labels(self, given: object) -> tuple[int, ...]:
        bits, labels = _bits(given), self._task.labels
        if bits is None:
            raise InputError(f"{_shown(given)}; the task has {len(labels)} labels, {_BITS_FORM}")
        if len(bits) != len(labels):
            raise InputError(
                f"{_shown(given)}, which is {len(bits)} labels; the task has {len(labels)} labels, "
                f"{_BITS_FORM}"
            )
        return bits

    def _number(self, given: object) -> float:
        text = cell(given)
        if not isinstance(text, str) or as_number(text) is None:
            raise InputError(f"{_shown(given)}, which is not a number; write it as 0.25 or 1e-3")
        number = float(text)
        if not math.isfinite(number):
            raise InputError(f"{text!r}; numbers must be finite")
        return number


_BITS_FORM = "each 0 or 1: write 010, 0,1,0 (in quotes), 0;1;0 or 0 1 0"


def _bits(given: object) -> tuple[int, ...] | None:
    """The zeros and ones of a multi-label value; None if it is not one."""
    parts: list[Any]
    if isinstance(given, str):
        text = given.strip()
        if text[:1] + text[-1:] in ("[]", "()"):
            text = text[1:-1].strip()
        separators = set(_SEPARATOR.findall(text))
        if len(separators) > 1:
            return None
        if separators:
            parts = text.split(separators.pop())
        else:
            words = text.split()
            parts = words if len(words) > 1 or "." in text else list(text)
    else:
        parts = list(given) if isinstance(given, list | tuple) else [given]
    bits = [_bit(part) for part in parts]
    return tuple(bit for bit in bits if bit is not None) if bits and None not in bits else None


def _bit(part: object) -> int | None:
    if isinstance(part, str):
        match = _BIT.fullmatch(part.strip())
        return int(match[1]) if match else None
    return int(part) if isinstance(part, bool | int | float) and part in (0, 1) else None


def _shown(given: object) -> str:
    text = str(given)
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f", ... {names[-1]}" if len(names) > LISTED else "")


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"
