"""Published and generated sources, and how their rows become train, validation and test."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream
from tasks.division import divide, joined, same_sequence
from tasks.sources.hub import HubDataset, HubUnavailable
from tasks.sources.rows import PartRows
from tasks.sources.tables import SPLIT_NAMES, read_intervals, read_table, saved_parts
from tasks.task import Example, Splits, Task, make_splits, strata

POOL_SHARES = (0.7, 0.1, 0.2)
"""Shares of train, validation and test where a source has no split of its own."""

TRAIN_SHARES = (0.9, 0.1)
"""Shares of train and validation where a source has only a test split."""


@dataclass(frozen=True)
class Part:
    """One file of a task.

    Attributes:
        file: Path below the data folder.
        what: Its content, as a phrase for the middle of a sentence.
        genome: FASTA file below the data folder, where the table holds intervals.
        only: A column and its value, where one table holds the rows of several tasks.
    """

    file: str
    what: str
    genome: str | None = None
    only: tuple[str, str] | None = None

    def files(self) -> tuple[str, ...]:
        """Return the files that must exist."""
        return (self.file, self.genome) if self.genome else (self.file,)

    def read(self, data: Path, task: Task) -> PartRows:
        """Read the rows of the file."""
        origin = f"{self.what} ({Path(self.file).name})"
        if self.genome:
            return read_intervals(data / self.file, data / self.genome, task, origin)
        if self.only:
            origin = f"{self.only[1]} in {origin}"
        return read_table(data / self.file, task, origin, only=self.only)


@dataclass(frozen=True)
class Layout:
    """The files of a task: a pool to divide, or test with train, dev or both."""

    train: Part | None = None
    dev: Part | None = None
    test: Part | None = None
    pool: Part | None = None

    def parts(self) -> dict[str, Part]:
        """Return the declared files by their part in the division."""
        declared = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: part for name, part in declared.items() if part is not None}

    def files(self) -> list[str]:
        """Return the files that must exist for the layout to be complete."""
        return [file for part in self.parts().values() for file in part.files()]


@dataclass(frozen=True)
class PublishedSource:
    """A published data set: on the Hub, or as files in a data folder.

    Attributes:
        hub: Its data set on the Hub, if there is one.
        layouts: Its local forms, in order of preference; the first complete one is read.
    """

    hub: HubDataset | None
    layouts: tuple[Layout, ...]

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read the rows and divide them; see `Task.splits`."""
        rows, revision = self.rows(task, data)
        return assemble(task, rows, split_seed, revision)

    def rows(self, task: Task, data: Path | None) -> tuple[dict[str, PartRows], str | None]:
        """Read the rows, undivided.

        Returns:
            The rows for `assemble`, and the commit of the Hub data set.

        Raises:
            InputError: If the rows are not available or cannot be used.
        """
        if data is None:
            return self._from_hub(task)
        data = data.expanduser()
        own = _own_tables(data)
        if own:
            return {
                name: read_table(path, task, f"the table {path.name}") for name, path in own.items()
            }, None
        if not data.is_dir():
            raise InputError(f"data folder {data} does not exist; data= names a folder or a table")
        for layout in self.layouts:
            if all((data / file).is_file() for file in layout.files()):
                parts = layout.parts().items()
                return {name: part.read(data, task) for name, part in parts}, None
        raise InputError(f"data folder {data} does not hold the task; looked for {self._files()}")

    def tables(self, data: Path | None) -> list[tuple[Path, str]]:
        """Return the tables that `splits` reads, and their columns of sequences."""
        if data is None:
            return []
        data = data.expanduser()
        if own := _own_tables(data):
            return [(path, "sequence") for path in own.values()]
        for layout in self.layouts:
            if all((data / file).is_file() for file in layout.files()):
                parts = layout.parts().values()
                return [(data / part.file, "sequence") for part in parts if not part.genome]
        return []

    def _from_hub(self, task: Task) -> tuple[dict[str, PartRows], str | None]:
        own = "data=FILE, a table of your own (such as .tsv or .csv) with columns sequence,label"
        if self.hub is None:
            raise InputError(
                f"task {task.name} is not on the Hub. Two ways to get the data: (1) give data=DIR, "
                f"or set ICL_DATA=DIR, where DIR holds {self._files()}; (2) give {own}"
            )
        try:
            rows, revision = self.hub.read(task)
        except HubUnavailable as error:
            raise InputError(
                f"Hub data set {self.hub.repository} is not available ({error}). Three ways to get "
                f"the data: (1) connect to the network once, so that it is cached; (2) give "
                f"data=DIR, or set ICL_DATA=DIR, where DIR holds {self._files()}; (3) give {own}"
            ) from error
        parts = {SPLIT_NAMES.get(name, name): part for name, part in rows.items()}
        known = {name: part for name, part in parts.items() if name in ("train", "dev", "test")}
        if not {"test"} < known.keys():
            raise InputError(
                f"Hub data set {self.hub.repository} has the splits {', '.join(rows)}; "
                f"test and train or validation are needed"
            )
        return known, revision

    def _files(self) -> str:
        """Return the files of every layout, as text."""
        return ", or ".join(" + ".join(layout.files()) for layout in self.layouts)


def _own_tables(data: Path) -> dict[str, Path]:
    """Return a user's own tables by part: one file, or a data set saved on disk."""
    if data.is_file() or (data / "state.json").is_file():
        return {"pool": data}
    return saved_parts(data)


def assemble(
    task: Task,
    rows: Mapping[str, PartRows],
    split_seed: int,
    revision: str | None = None,
) -> Splits:
    """Make train, validation and test of what a source has, and describe how.

    Args:
        task: Whose rows they are.
        rows: `pool` alone, or `test` with `train`, `dev` or both.
        split_seed: Seed of every division made here.
        revision: Commit of the rows, if there is one.

    Raises:
        InputError: If a split lacks a class, or the rows of a group come in several of its parts.
    """
    _check_groups(rows)
    seeded = f"stratified, split_seed={split_seed}"
    if "pool" in rows:
        (train, val, test), note = _divided(rows["pool"], POOL_SHARES, split_seed)
        origin = f"70/10/20 of {rows['pool'].origin}, {seeded}{note}"
    elif "train" in rows and "dev" in rows:
        train, val, test = (rows[name].examples for name in ("train", "dev", "test"))
        origin = f"train is {rows['train'].origin}, validation {rows['dev'].origin}"
    else:
        name = "train" if "train" in rows else "dev"
        (train, val), note = _divided(rows[name], TRAIN_SHARES, split_seed)
        test = rows["test"].examples
        origin = f"train and validation are 90/10 of {rows[name].origin}, {seeded}{note}"
        if name == "dev":
            origin = f"no train file, so {origin}"
    if "test" in rows:
        origin = f"{origin}; test is {rows['test'].origin}"
    ambiguous_letters = sum(part.ambiguous_letters for part in rows.values())
    notes = [f"labels: {_labels_read(rows)}", *(note for p in rows.values() for note in p.notes)]
    return make_splits(task, train, val, test, origin, revision, ambiguous_letters, notes)


def _check_groups(rows: Mapping[str, PartRows]) -> None:
    """Refuse a given division that splits a group."""
    found: dict[str, PartRows] = {}
    for part in rows.values():
        for example in part.examples:
            other = found.setdefault(example.group, part) if example.group else part
            if other is not part:
                raise InputError(
                    f"group {example.group!r} has rows in {other.origin} and in {part.origin}; "
                    f"move them to one side, or give task.group= to divide regardless of groups"
                )


def _labels_read(rows: Mapping[str, PartRows]) -> str:
    """Return how the labels of all parts were read, once where they were read alike."""
    said: dict[str, list[str]] = {}
    for name, part in rows.items():
        said.setdefault(part.labels_read, []).append(name)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in said.items())


def _divided(
    rows: PartRows, shares: tuple[float, ...], seed: int
) -> tuple[list[tuple[Example, ...]], str]:
    """Return the parts, and a note if rows of the same sequence were kept together."""
    same = same_sequence([example.sequence for example in rows.examples])
    groups = [example.group for example in rows.examples]
    parts = divide(strata(rows.examples), joined(same, groups), shares, seed)
    repeated = len(same) - len(np.unique(same))
    note = (
        f", {repeated} rows that repeat another sequence or its reverse complement kept with it"
        if repeated
        else ""
    )
    if any(groups):
        note += f", the rows of each of {len({*groups} - {''})} groups kept together"
    return [tuple(rows.examples[row] for row in part) for part in parts], note


class Generator(Protocol):
    """Draws labelled sequences."""

    def draw(self, n: int, random: np.random.Generator) -> list[Example]:
        """Draw `n` rows, the classes in turn."""
        ...


@dataclass(frozen=True)
class GeneratedSource:
    """Generated rows, reproducible from their seeds; no data needed.

    Attributes:
        generator: Draws the rows.
        n_train: Rows of train.
        n_val: Rows of validation.
        n_test: Rows of test.
        seed: Seed of all draws, together with `split_seed`.
    """

    generator: Generator
    n_train: int = 2000
    n_val: int = 400
    n_test: int = 1000
    seed: int = 0

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Draw the rows; `data` is not used."""
        random = stream(self.seed, "generated rows", split_seed)
        sizes = (self.n_train, self.n_val, self.n_test)
        train, val, test = (self.generator.draw(size, random) for size in sizes)
        name = type(self.generator).__name__
        origin = (
            f"{self.n_train}, {self.n_val} and {self.n_test} rows drawn by {name}, "
            f"seed={self.seed}, split_seed={split_seed}"
        )
        return make_splits(task, train, val, test, origin)
