"""What a task is: labelled DNA in three splits, with its classes declared in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from backbone.errors import InputError
from tasks.division import stratified_sample

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled sequence.

    Attributes:
        sequence: Cleaned DNA over ACGTN.
        label: Index into the labels of its task.
    """

    sequence: str
    label: int


@dataclass(frozen=True)
class Splits:
    """The rows of one division of a task.

    Attributes:
        train: Rows that are learned from; demonstrations come from here.
        val: Rows that choose between settings and moments.
        test: Rows that are scored once, at the end.
        origin: One sentence: which files or data set, and how they were divided.
        sha256: Hash of the cleaned rows of the three splits, in order.
        revision: Commit of the Hub data set, where the rows come from there.
        ambiguous_letters: IUPAC letters of the three splits that were read as N.
    """

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    origin: str
    sha256: str
    revision: str | None = None
    ambiguous_letters: int = 0


class Source(Protocol):
    """Where the rows of a task come from."""

    def splits(self, labels: tuple[str, ...], split_seed: int, data: Path | None) -> Splits:
        """Read or draw the rows and divide them; see `Task.splits`."""
        ...


@dataclass(frozen=True)
class Task:
    """A question about DNA with a fixed set of answers.

    Attributes:
        name: Name in the registry.
        labels: Class names in order; `Example.label` is an index into them.
        source: Where the rows come from.
        metric: The metric that its literature reports.
        description: One line for the help.
        citation: Paper or data set to cite.
        licence: Terms of the data, as their publisher states them.
        best_accuracy: The accuracy that no classifier can beat on average, where it is known.
    """

    name: str
    labels: tuple[str, ...]
    source: Source
    metric: str = "accuracy"
    description: str = ""
    citation: str = ""
    licence: str = ""
    best_accuracy: float | None = None

    def splits(self, split_seed: int, data: Path | None = None) -> Splits:
        """Read the task's rows and divide them.

        Args:
            split_seed: Moves every division that is not the data set's own.
            data: Folder with the task's files, or one table of rows; None asks the Hub.

        Returns:
            The three splits; the same arguments and files give the same rows.

        Raises:
            InputError: If the rows cannot be had or used, with what is wrong and what to do.
        """
        return self.source.splits(self.labels, split_seed, data)

    def split(self, name: SplitName, seed: int, data: Path | None = None) -> tuple[Example, ...]:
        """One of the three splits; see `splits`."""
        splits = self.splits(seed, data)
        return {"train": splits.train, "val": splits.val, "test": splits.test}[name]


def make_splits(
    labels: tuple[str, ...],
    train: Sequence[Example],
    val: Sequence[Example],
    test: Sequence[Example],
    origin: str,
    revision: str | None = None,
    ambiguous_letters: int = 0,
) -> Splits:
    """Put three lists of rows together, with their hash.

    Raises:
        InputError: If a class has no row in one of the splits.
    """
    digest = sha256()
    for name, rows in (("train", train), ("val", val), ("test", test)):
        present = {example.label for example in rows}
        for label, text in enumerate(labels):
            if label not in present:
                raise InputError(f"class {text!r} has no rows in {name}: too few rows ({origin})")
        digest.update(f">{name}\n".encode())
        digest.update("".join(f"{row.label}\t{row.sequence}\n" for row in rows).encode())
    return Splits(
        tuple(train), tuple(val), tuple(test), origin, digest.hexdigest(), revision,
        ambiguous_letters,
    )  # fmt: skip


def subset(examples: Sequence[Example], n: int, seed: int) -> tuple[Example, ...]:
    """Draw `n` rows with the classes in their proportions, in their old order.

    Raises:
        InputError: If `n` is more than there are rows or less than there are classes.
    """
    rows = stratified_sample([example.label for example in examples], n, seed)
    return tuple(examples[row] for row in rows)
