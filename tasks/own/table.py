"""A task from your own tables: `task=table task.train=a.csv task.test=b.csv`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from backbone.common.errors import InputError
from backbone.common.options import option
from tasks.kinds import TASK_KINDS
from tasks.registry import TASKS, TaskConfig, TaskFamily, path_option
from tasks.sources.labels import as_number, check_labels, find_labels
from tasks.sources.published import assemble
from tasks.sources.rows import Missing, PartRows
from tasks.sources.tables import (
    NoColumn,
    column_names,
    read_columns,
    read_table,
    saved_parts,
    stem,
)
from tasks.task import Kind, LabelOrder, Splits, Task

GROUP = "group"
"""Column that is taken for groups where a table has it."""


def group_option() -> Any:
    """Declare the column of groups. It is not part of a run's hash; the hash of the rows is."""
    text = "column of groups that stay in one split, such as gene or donor; empty: none"
    return field(default=GROUP, metadata={"help": text, "path": True})


@dataclass
class TableConfig(TaskConfig):
    """Options of `task=table`."""

    train: str | None = path_option(
        "table of sequences and labels; split 70/10/20 if it is the only one"
    )
    dev: str | None = path_option("table of validation rows; by default 10 % of train")
    test: str | None = path_option("table of test rows")
    sequence: str = option("sequence", "column of the sequences")
    label: str = option("label", "column of the labels")
    kind: str = option("classes", "kind of label", choices=get_args(Kind))
    labels: list[str] = option(
        [], "names of the classes in order; numbers in a table are then positions, from 0"
    )
    group: str = group_option()
    missing: str = option(
        "error", "what to do with rows without label or sequence", choices=get_args(Missing)
    )


@dataclass(frozen=True)
class TableSource:
    """Rows of tables with the same columns.

    Attributes:
        files: By their part in the division: train alone or pool, dev and test.
        sequence: Column of the sequences.
        label: Column of the labels, or the columns of a multi-label task.
        missing: What happens to rows without a label or a sequence.
        group: Column of the groups of rows; "group" may be missing.
    """

    files: dict[str, Path]
    sequence: str
    label: str | tuple[str, ...]
    missing: Missing
    group: str = ""

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read the tables and divide what is not divided; `data` is not used."""
        rows: dict[str, PartRows] = {}
        for name, path in self.files.items():
            with _options_named(sequence=self.sequence, label=self.label, group=self.group):
                rows[name] = read_table(
                    path, task, f"the table {path.name}",
                    sequence=self.sequence, label=self.label, group=self._group(path),
                    missing=self.missing,
                )  # fmt: skip
        return assemble(task, rows, split_seed)

    def _group(self, path: Path) -> str | None:
        """Return the column of groups; None where there is none, and none was asked for."""
        asked = self.group or None
        if asked != GROUP or GROUP in (self.sequence, self.label):
            return asked
        return asked if any(name.lower() == GROUP for name in column_names(path)) else None

    def tables(self, data: Path | None) -> list[tuple[Path, str]]:
        """Return the tables that `splits` reads and their column of sequences."""
        return [(path, self.sequence) for path in self.files.values()]


@contextmanager
def _options_named(**columns: str | tuple[str, ...]) -> Iterator[None]:
    """Add to the message about a missing column which option names another, by its column."""
    try:
        yield
    except NoColumn as error:
        asked = [f"task.{name}=" for name, column in columns.items() if column in error.missing]
        hint = f"; name yours with {' '.join(asked)}" if asked else ""
        raise InputError(f"{error}{hint}") from error


def build(options: TableConfig) -> Task:
    """Build the task of some tables; its name is that of the first file without its endings.

    Raises:
        InputError: If an option is missing or wrong, or the labels cannot be read.
    """
    kind = cast(Kind, options.kind)
    files = _files(options)
    declared = check_labels(options.labels, kind) if options.labels else ()
    train = files.get("train") or files["pool"]
    label = _label_columns(options, kind, declared, train)
    order: LabelOrder = "declared"
    if isinstance(label, tuple):
        labels = label
    elif declared:
        labels = declared
    else:
        with _options_named(sequence=options.sequence, label=label):
            table = read_columns(train, [options.sequence, label])
        labels = find_labels(kind, table.columns[label], label, str(train), table.places)
        order = "found"
    source = TableSource(
        files, options.sequence, label, cast(Missing, options.missing), options.group
    )
    return own_task(stem(Path(str(options.train))), labels, source, kind, order)


def _files(options: TableConfig) -> dict[str, Path]:
    """The tables by their part in the division."""
    if options.train is None:
        raise InputError("task=table: give task.train=FILE, a table such as mine.csv")
    given = {"train": options.train, "dev": options.dev, "test": options.test}
    files = {name: Path(path).expanduser() for name, path in given.items() if path is not None}
    if list(files) == ["train"]:
        files = saved_parts(files["train"]) or {"pool": files["train"]}
    if "dev" in files and "test" not in files:
        raise InputError(f"task.dev={files['dev']}: validation rows need test rows too: task.test=")
    return files


def _label_columns(
    options: TableConfig, kind: Kind, declared: Sequence[str], train: Path
) -> str | tuple[str, ...]:
    """The column of the labels; several where each label has one of its own."""
    if kind != "multi_label":
        return options.label
    header = column_names(train)
    if any(name.lower() == options.label.lower() for name in header):
        return options.label
    if declared:
        return tuple(declared)
    apart = (options.sequence.lower(), options.group.lower())
    others = [name for name in header if name and name.lower() not in apart]
    if not others:
        return options.label
    table = read_columns(train, others)
    for name in others:
        for place, value in zip(table.places, table.columns[name], strict=True):
            if value != "" and (not isinstance(value, str) or as_number(value) not in (0, 1)):
                raise InputError(
                    f"{train}: no column {options.label}, and {place} has {str(value)[:20]!r} in "
                    f"the column {name}; where every label has a column of 0 and 1, name these "
                    f"columns in task.labels=[...]"
                )
    return tuple(others)


def own_task(
    name: str, labels: tuple[str, ...], source: Any, kind: Kind, order: LabelOrder = "found"
) -> Task:
    """Return a task on a user's own data, with the metric of its kind."""
    metric = TASK_KINDS[kind].metric
    return Task(
        name, labels, source, metric=metric, description="your own data", kind=kind,
        label_order=order,
    )  # fmt: skip


TASKS.add(
    "table",
    TaskFamily("table", TableConfig, build, "your own tables: task.train=FILE [task.test=FILE]"),
)
