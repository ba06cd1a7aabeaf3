"""Your own tables, without code: `task=table task.train=a.csv task.test=b.csv`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from backbone.common.errors import InputError
from tasks.registry import TASKS, TaskConfig, TaskFamily, path_option
from tasks.sources.published import assemble
from tasks.sources.rows import Rows
from tasks.sources.tables import read_columns, read_table
from tasks.task import Kind, Splits, Task


def own(default: Any, text: str) -> Any:
    """A field with its line of help."""
    return field(default=default, metadata={"help": text})


@dataclass
class TableConfig(TaskConfig):
    """Options of `task=table`."""

    train: str | None = path_option(".tsv or .csv, also .gz; alone it is divided 70/10/20")
    dev: str | None = path_option("table of validation rows; else 10 % of train")
    test: str | None = path_option("table of test rows")
    sequence: str = own("sequence", "column of the sequences")
    label: str = own("label", "column of the labels")
    kind: str = own(
        "classes", "classes (sorted values of train), multi_label (as 0110), regression"
    )


@dataclass(frozen=True)
class TableSource:
    """Rows of tables with the same columns.

    Attributes:
        files: By their part in the division: train alone or pool, dev and test.
        sequence: Column of the sequences.
        label: Column of the labels.
    """

    files: dict[str, Path]
    sequence: str
    label: str

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read the tables and divide what is not divided; `data` has nothing to say here."""
        rows: dict[str, Rows] = {}
        for name, path in self.files.items():
            rows[name] = read_table(
                path, task, f"the table {path.name}", sequence=self.sequence, label=self.label
            )
        return assemble(task, rows, split_seed)

    def tables(self, data: Path | None) -> list[tuple[Path, str]]:
        """The tables that `splits` reads and their column of sequences."""
        return [(path, self.sequence) for path in self.files.values()]


def build(options: TableConfig) -> Task:
    """The task of some tables; its name is that of the first file without its endings.

    Raises:
        InputError: If an option is missing or wrong, or the labels cannot be read.
    """
    kind = checked_kind(options.kind)
    if options.train is None:
        raise InputError("task=table: give task.train=FILE, a .tsv or .csv, also .gz")
    if options.dev is not None and options.test is None:
        raise InputError(f"task.dev={options.dev}: validation rows need test rows too: task.test=")
    given = {"train": options.train, "dev": options.dev, "test": options.test}
    files = {name: Path(path).expanduser() for name, path in given.items() if path is not None}
    values = list(read_columns(files["train"], [options.sequence, options.label])[options.label])
    labels = labels_of(kind, values, options.label, str(files["train"]))
    name = stem(files["train"])
    if options.test is None:
        files = {"pool": files["train"]}
    source = TableSource(files, options.sequence, options.label)
    return own_task(name, labels, source, kind)


def own_task(name: str, labels: tuple[str, ...], source: Any, kind: Kind) -> Task:
    """A task of someone's own data, with the metric of its kind."""
    metric = {"classes": "accuracy", "multi_label": "auroc", "regression": "pearson"}[kind]
    return Task(name, labels, source, metric=metric, description="your own data", kind=kind)


def checked_kind(text: str) -> Kind:
    """The kind of a task, as it was given.

    Raises:
        InputError: If there is no such kind.
    """
    if text not in get_args(Kind):
        raise InputError(f"task.kind={text}: must be one of {', '.join(get_args(Kind))}")
    return cast(Kind, text)


def labels_of(kind: Kind, values: Sequence[str], column: str, where: str) -> tuple[str, ...]:
    """The labels of a task whose training rows have these values.

    Classes are the different values in order, as numbers where all are whole numbers. Several
    labels are as many as a value has signs, and called after the column: label_1, label_2 ...

    Raises:
        InputError: If there are no rows or only one class.
    """
    if not values:
        raise InputError(f"{where}: no rows below the header; give a table that has some")
    if kind == "regression":
        return (column,)
    if kind == "multi_label":
        return tuple(f"{column}_{i}" for i in range(1, len(values[0]) + 1))
    numbers = all(value.removeprefix("-").isdecimal() for value in values)
    classes = sorted(set(values), key=int if numbers else None)
    if len(classes) < 2:
        raise InputError(f"{where}: all rows have the label {classes[0]!r}; give two classes")
    if len(classes) > max(20, len(values) / 2):
        raise InputError(
            f"{where}: {len(classes)} different labels in {len(values)} rows are no classes; for "
            f"numbers give task.kind=regression"
        )
    return tuple(classes)


def stem(path: Path) -> str:
    """The name of a file without its endings, .gz before .tsv."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).stem


TASKS.add(
    "table",
    TaskFamily("table", TableConfig, build, "your own tables: task.train=FILE [task.test=FILE]"),
)
