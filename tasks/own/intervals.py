"""A user's intervals on a genome, without code: `task=intervals task.genome=x.fa task.bed=y.bed`.

Coordinates are BED's: 0-based, the end not included. Rows on strand "-" are reverse complemented;
those on "." or without a strand are read forward.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.sequence.bed import Interval, chromosome, read_bed
from backbone.sequence.fasta import Genome, find_fasta
from tasks.own.table import own_task
from tasks.registry import TASKS, TaskConfig, TaskFamily, path_option
from tasks.sources.labels import find_labels
from tasks.sources.published import assemble
from tasks.sources.rows import PartRows, clean
from tasks.sources.tables import interval_name, stem
from tasks.task import Kind, Splits, Task


@dataclass
class IntervalsConfig(TaskConfig):
    """Options of `task=intervals`."""

    genome: str | None = path_option("FASTA file (plain, gzip or bgzip), a folder or a glob")
    bed: str | None = path_option("BED file of labelled intervals, plain or gzip")
    label: int = option(
        4, "column of the labels, counted from 1; by default the name column of BED", least=1
    )
    flank: int = option(0, "bases to add on either side", least=0)
    kind: str = option("classes", "kind of label", choices=get_args(Kind))
    val_chromosomes: list[str] = option([], "records for validation, as [chr8]; by default 10 %")
    test_chromosomes: list[str] = option([], "records for test, as [chr9,chr10]; by default 20 %")


@dataclass(frozen=True)
class IntervalSource:
    """Labelled intervals of a genome.

    Attributes:
        genome: FASTA file, folder or glob.
        bed: BED file.
        label: Column of the labels, counted from 1.
        flank: Bases added on either side.
        val: Records whose rows are validation.
        test: Records whose rows are test; without any, rows are divided regardless of their record.
    """

    genome: str
    bed: Path
    label: int
    flank: int
    val: tuple[str, ...]
    test: tuple[str, ...]

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Cut out the rows and divide them; `data` is not used."""
        intervals = read_bed(self.bed)
        labels = read_column(self.bed, self.label)
        parts = self._parts(intervals)
        genome = Genome(find_fasta([self.genome]))
        rows = {}
        for name in dict.fromkeys(parts):
            chosen = [i for i, part in enumerate(parts) if part == name]
            rows[name] = self._cut(task, genome, name, intervals, labels, chosen)
        return assemble(task, rows, split_seed)

    def places(self) -> Iterator[tuple[str, Interval]]:
        """Yield each row's sequence and interval."""
        genome = Genome(find_fasta([self.genome]))
        for at in read_bed(self.bed):
            wide = self._wide(at)
            yield genome.cut(wide), wide

    def _wide(self, at: Interval) -> Interval:
        """Return an interval with its flanks."""
        return replace(at, start=at.start - self.flank, end=at.end + self.flank)

    def _parts(self, intervals: Sequence[Interval]) -> list[str]:
        """Return the part of the division that each interval belongs to, by its record."""
        if not self.test:
            return ["pool"] * len(intervals)
        there = {interval.record for interval in intervals}
        for split, names in (("test", self.test), ("val", self.val)):
            for name in names:
                if name not in there:
                    same = [other for other in there if chromosome(other) == chromosome(name)]
                    some = ", ".join(sorted(same or there)[:5])
                    raise InputError(
                        f"task.{split}_chromosomes: {self.bed} has no interval on {name}; "
                        f"it has {some}{' ...' if len(same or there) > 5 else ''}"
                    )
        of_record = dict.fromkeys(self.val, "dev") | dict.fromkeys(self.test, "test")
        parts = [of_record.get(interval.record, "train") for interval in intervals]
        if "train" not in parts:
            raise InputError("task.test_chromosomes: no interval is left to learn from")
        return parts

    def _cut(
        self,
        task: Task,
        genome: Genome,
        part: str,
        intervals: Sequence[Interval],
        labels: Sequence[str],
        chosen: Sequence[int],
    ) -> PartRows:
        def cut() -> Iterator[tuple[str, str]]:
            for i in chosen:
                try:
                    yield genome.cut(self._wide(intervals[i])), labels[i]
                except InputError as error:
                    flanks = f" (with task.flank={self.flank})" if self.flank else ""
                    raise InputError(f"{error}{flanks}") from error

        records = {"test": self.test, "dev": self.val}.get(part, ())
        where = f" on {', '.join(records)}" if records else ""
        if part == "train":
            where = f" but those on {', '.join((*self.test, *self.val))}"
        origin = f"the intervals of {self.bed.name}{where}"
        wide = [self._wide(intervals[i]) for i in chosen]
        names = [interval_name(w.record, str(w.start), str(w.end), w.strand) for w in wide]
        return clean(cut(), task, str(self.bed), origin, names=names)


def build(options: IntervalsConfig) -> Task:
    """Return the task of some intervals, named after the BED file.

    Raises:
        InputError: If an option is missing or wrong, or the labels cannot be read.
    """
    kind = cast(Kind, options.kind)
    if options.genome is None or options.bed is None:
        raise InputError("task=intervals: give task.genome=FASTA and task.bed=FILE")
    if options.val_chromosomes and not options.test_chromosomes:
        raise InputError("task.val_chromosomes: give task.test_chromosomes too")
    both = sorted({*options.val_chromosomes} & {*options.test_chromosomes})
    if both:
        raise InputError(f"task.test_chromosomes: {', '.join(both)} cannot be validation as well")
    bed = Path(options.bed).expanduser()
    values = read_column(bed, options.label)
    source = IntervalSource(
        options.genome, bed, options.label, options.flank,
        tuple(options.val_chromosomes), tuple(options.test_chromosomes),
    )  # fmt: skip
    return own_task(stem(bed), find_labels(kind, values, "label", str(bed)), source, kind)


def read_column(bed: Path, number: int) -> list[str]:
    """Return a column of a BED file, counted from 1, one value per interval.

    Raises:
        InputError: If the file is not a BED file, a line has no such column, or it is empty there.
    """
    intervals = read_bed(bed)
    for at in intervals:
        if number > len(at.columns):
            raise InputError(
                f"{at.where}: has {len(at.columns)} columns, and task.label={number} names the "
                f"one with the labels"
            )
    found = [at.columns[number - 1].strip() for at in intervals]
    missing = [at.where for at, label in zip(intervals, found, strict=True) if not label]
    if missing:
        raise InputError(
            f"{missing[0]}: has no label in column {number}, the first of {len(missing)} such "
            f"lines; label or remove them"
        )
    return found


TASKS.add(
    "intervals",
    TaskFamily(
        "intervals", IntervalsConfig, build,
        "your own intervals: task.genome=FASTA task.bed=FILE",
    ),
)  # fmt: skip
