"""A task of two FASTA files, without code: `task=fasta task.positives=x.fa task.negatives=y.fa`."""

from dataclasses import dataclass
from pathlib import Path

from backbone.common.errors import InputError
from backbone.sequence.bed import Interval
from backbone.sequence.fasta import Genome, fasta_stem, find_fasta
from tasks.own.table import own_task
from tasks.registry import TASKS, TaskConfig, TaskFamily, path_option
from tasks.sources.published import assemble
from tasks.sources.rows import PartRows, clean
from tasks.task import Splits, Task

LABELS = ("negative", "positive")


@dataclass
class FastaConfig(TaskConfig):
    """Options of `task=fasta`; each is a FASTA file (plain, gzip or bgzip), a folder or a glob."""

    positives: str | None = path_option(
        "records of the positive class; split 70/10/20 if there are no test files"
    )
    negatives: str | None = path_option("records of the negative class")
    test_positives: str | None = path_option("positive records for test")
    test_negatives: str | None = path_option("negative records for test")


@dataclass(frozen=True)
class FastaSource:
    """Records of FASTA files, one row each.

    Attributes:
        files: Files, folders or globs of each class in the order of LABELS, by their part in the
            division: `pool` alone, or `train` and `test`.
    """

    files: dict[str, tuple[str, str]]

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read the records and divide them; `data` is not used."""
        rows = {part: _both(task, given) for part, given in self.files.items()}
        return assemble(task, rows, split_seed)


def _both(task: Task, given: tuple[str, str]) -> PartRows:
    """Return the rows of both classes, negatives first."""
    parts = [_read(task, one, label) for one, label in zip(given, LABELS, strict=True)]
    return PartRows(
        sum((part.examples for part in parts), ()),
        " and ".join(part.origin for part in parts),
        sum(part.ambiguous_letters for part in parts),
        "by the file of a record",
    )


def _read(task: Task, given: str, label: str) -> PartRows:
    paths = find_fasta([given])
    genome = Genome(paths)
    records = [one for one in genome.records if one.length]
    rows = ((genome.cut(Interval(r.name, 0, r.length, r.name)), label) for r in records)
    names = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
    return clean(rows, task, given, f"the records of {names}", names=[r.name for r in records])


def build(options: FastaConfig) -> Task:
    """Return the task of some FASTA files, named after that of the positive class.

    Raises:
        InputError: If a file is missing.
    """
    files: dict[str, tuple[str, str]] = {}
    for part, prefix in (("train", ""), ("test", "test_")):
        pair = [getattr(options, f"{prefix}{one}s") for one in LABELS]
        if None not in pair:
            files[part] = (pair[0], pair[1])
        elif part == "train" or pair != [None, None]:
            raise InputError(
                f"task=fasta: give both task.{prefix}positives=FASTA and task.{prefix}negatives="
            )
    if "test" not in files:
        files = {"pool": files["train"]}
    name = fasta_stem(find_fasta([str(options.positives)])[0])
    return own_task(name, LABELS, FastaSource(files), "classes", "declared")


TASKS.add(
    "fasta",
    TaskFamily(
        "fasta", FastaConfig, build, "two FASTA files: task.positives=FILE task.negatives=FILE"
    ),
)
