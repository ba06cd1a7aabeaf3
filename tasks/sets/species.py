"""Species from windows of their genomes: any FASTA files, regions held out.

After Nguyen et al. 2023 (HyenaDNA, arXiv 2306.15794, section 4.4.3): human, lemur, mouse, pig and
hippo, from 1,024 to a million bases, the chromosomes of test never seen in training. The task
gets easier with length, and much of it is composition: `kmer_logreg` belongs beside every figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.fasta import Genome, Record, find_fasta
from tasks.division import apportion
from tasks.registry import TASKS, TaskConfig, TaskFamily
from tasks.sets.cutting import cut_windows, shared_ends
from tasks.sets.regions import Regions, hold_out, names_record
from tasks.task import Example, Splits, Task, make_splits

ASSEMBLIES = {
    "human": "GCA_009914755.4 (T2T-CHM13v2.0)",
    "lemur": "GCA_020740605.1 (mLemCat1)",
    "mouse": "GCA_921998355.2 (A_J_v3)",
    "pig": "GCA_002844635.1 (USMARCv1.0)",
    "hippo": "GCA_023065835.1 (ASM2306583v1)",
}
"""The five species of the paper, with the assemblies that its repository names (NCBI GenBank)."""

PAPER_GENOMES = {name: (f"species/{name}",) for name in ASSEMBLIES}
"""Their folders below the data folder, a FASTA file a chromosome: chr1.fna.gz, chr2.fna.gz, ..."""

PAPER_VAL = ("chr1", "chr3", "chr12", "chr13")
PAPER_TEST = ("chr5", "chr7", "chr9", "chr10", "chr11")
"""The chromosomes that the paper's repository holds out, of every species."""


FLAWS = (
    "base composition alone tells several species apart: gc_only and kmer_logreg on the same rows "
    "say how far it goes, and belong beside every figure",
    "the human genome is what backbones are pretrained on: name what yours did not see in "
    "task.test_records, or say that it has seen the test windows",
    "repeats and duplications put near copies of a held-out region into others of its genome: "
    "python -m tasks check counts them",
)


@dataclass(frozen=True)
class SpeciesSource:
    """Windows of genomes, the same for the same seed and files.

    Attributes:
        genomes: FASTA files, folders or globs by species; relative ones lie in the data folder.
        length: Bases of a window.
        rows: Rows of train, val and test, shared out evenly over the species.
        val: Records held out for validation; see `tasks.sets.regions.names_record`.
        test: Records held out for test.
        step: Bases between the starts of two windows; None for windows that do not overlap.
        max_unknown: Largest share of N in a window.
    """

    genomes: Mapping[str, tuple[str, ...]]
    length: int
    rows: Mapping[str, int]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    step: int | None = None
    max_unknown: float = 0.1

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Cut the windows; see `Task.splits`."""
        genomes = {name: self._open(name, data) for name in task.labels}
        self._check_patterns(genomes)
        examples: dict[str, list[list[Example]]] = {part: [] for part in self.rows}
        origins = []
        for label, name in enumerate(task.labels):
            # Seeded by name: what is drawn from one genome does not depend on the others.
            key = crc32(name.encode())
            try:
                regions = hold_out(
                    genomes[name].records,
                    self.length,
                    np.random.default_rng([split_seed, key]),
                    self.val,
                    self.test,
                )
                for part, rows in self.rows.items():
                    count = apportion(rows, [1] * len(genomes))[label]
                    windows = self._cut(genomes[name], regions, part, count, [split_seed, key])
                    examples[part].append([Example(window, label) for window in windows])
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
            origins.append(f"{name}: {_described(regions)}")
        train, val, test = (_in_turn(examples[part]) for part in ("train", "val", "test"))
        origin = (
            f"windows of {self.length:,} bases, on a random strand each, split_seed={split_seed}; "
            + "; ".join(origins)
        )
        return make_splits(task, train, val, test, origin)

    def _open(self, name: str, data: Path | None) -> Genome:
        patterns = [Path(pattern).expanduser() for pattern in self.genomes[name]]
        if data is None and not all(pattern.is_absolute() for pattern in patterns):
            raise InputError(
                f"{name}: the genomes are files ({', '.join(map(str, patterns))}) below a data "
                f"folder: give data=DIR, or set ICL_DATA=DIR, or give task.genomes. "
                f"{where_to_get(name)}"
            )
        try:
            files = find_fasta([str((data or Path()).expanduser() / one) for one in patterns])
        except InputError as error:
            raise InputError(f"{name}: {error}. {where_to_get(name)}".rstrip()) from error
        genome = Genome(files)
        for pair in shared_ends(genome):
            if not any(
                all(_named(patterns, r) for r in pair) for patterns in (self.val, self.test)
            ):
                raise InputError(
                    f"{name}: records {pair[0].name} and {pair[1].name} hold the same DNA, which "
                    f"could then be in train and in test; give one of their files alone"
                )
        return genome

    def _check_patterns(self, genomes: Mapping[str, Genome]) -> None:
        records = [record for genome in genomes.values() for record in genome.records]
        for option, patterns in (("val_records", self.val), ("test_records", self.test)):
            for pattern in patterns:
                if not any(_named((pattern,), record) for record in records):
                    some = ", ".join(record.name for record in records[:5])
                    raise InputError(
                        f"task.{option}: no record and no file is called {pattern}; "
                        f"there are {some} ..."
                    )

    def _cut(
        self, genome: Genome, regions: Regions, part: str, count: int, seed: list[int]
    ) -> list[str]:
        random = np.random.default_rng([*seed, list(self.rows).index(part) + 1])
        try:
            return cut_windows(
                genome,
                regions[part],
                self.length,
                count,
                random,
                step=self.step,
                max_unknown=self.max_unknown,
            )
        except InputError as error:
            raise InputError(
                f"{part}: {error}; lower task.{part}_rows or task.length, or let windows overlap "
                f"with task.step={max(1, (self.step or self.length) // 2)}"
            ) from error


def where_to_get(name: str) -> str:
    """How to come by the genome of one of the paper's species; empty for another."""
    if name not in ASSEMBLIES:
        return ""
    return (
        f"The paper's {name} is NCBI assembly {ASSEMBLIES[name]}: put its chromosomes as "
        f"species/{name}/chr1.fna.gz, ... (compressed with bgzip, or not at all) into the folder"
    )


def _named(patterns: tuple[str, ...], record: Record) -> bool:
    return any(names_record(pattern, record) for pattern in patterns)


def _described(regions: Regions) -> str:
    """Which records are held out whole and how many are cut, in words."""
    held = {stretch.record for part in ("val", "test") for stretch in regions[part]}
    cut = held & {stretch.record for stretch in regions["train"]}
    cut |= {s.record for s in regions["val"]} & {s.record for s in regions["test"]}
    words = []
    for part in ("val", "test"):
        names = sorted({s.record.name for s in regions[part] if s.record not in cut})
        if names:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            words.append(f"{part} of {', '.join(names[:6])}{more}")
    if cut:
        noun = "record" if len(cut) == 1 else "records"
        words.append(f"{len(cut)} {noun} cut into stretches a window apart")
    return ", ".join(words)


def _in_turn(classes: list[list[Example]]) -> list[Example]:
    """The classes' rows in turn, the first of each first."""
    longest = max(map(len, classes))
    return [rows[i] for i in range(longest) for rows in classes if i < len(rows)]


@dataclass
class SpeciesConfig(TaskConfig):
    """Which genomes, which of their records are held out, how windows are cut."""

    genomes: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={
            "help": "FASTA files by species, as {human:[h.fa],yeast:[y1.fa,y2.fa]}; "
            "without any the paper's five, in species/NAME",
            "path": True,
        },
    )
    length: int = field(default=1000, metadata={"help": "bases of a window"})
    train_rows: int = field(default=2000, metadata={"help": "windows of train, over all species"})
    val_rows: int = field(default=400, metadata={"help": "windows of validation"})
    test_rows: int = field(default=1000, metadata={"help": "windows of test"})
    val_records: list[str] = field(
        default_factory=list,
        metadata={"help": "records or files held out for validation, * and ? allowed"},
    )
    test_records: list[str] = field(
        default_factory=list,
        metadata={"help": "the same for test; a genome without any is divided by split_seed"},
    )
    step: int | None = field(
        default=None, metadata={"help": "bases between window starts; null: no window overlaps"}
    )
    max_unknown: float = field(default=0.1, metadata={"help": "largest share of N in a window"})


def build(options: SpeciesConfig) -> Task:
    """The task of some options.

    Raises:
        InputError: For options that no task can have.
    """
    genomes = options.genomes or PAPER_GENOMES
    val, test = tuple(options.val_records), tuple(options.test_records)
    if not options.genomes:
        val, test = val or PAPER_VAL, test or PAPER_TEST
    if len(genomes) < 2 or not all(genomes.values()):
        raise InputError("task.genomes: give at least two species, each with its FASTA files")
    rows = {name: getattr(options, f"{name}_rows") for name in ("train", "val", "test")}
    for name, count in rows.items():
        if count < len(genomes):
            raise InputError(f"task.{name}_rows={count}: must be at least one a species")
    if options.length < 1 or (options.step is not None and options.step < 1):
        raise InputError(
            f"task.length={options.length}, task.step={options.step}: must be 1 or more"
        )
    if not 0 <= options.max_unknown < 1:
        raise InputError(f"task.max_unknown={options.max_unknown}: must be from 0 to below 1")
    files = {name: tuple(patterns) for name, patterns in genomes.items()}
    source = SpeciesSource(
        files, options.length, rows, val, test, options.step, options.max_unknown
    )
    return Task(
        f"species_{options.length}",
        tuple(files),
        source,
        description=f"species of {options.length:,} bases, regions held out",
        citation="after Nguyen et al. 2023, HyenaDNA, arXiv 2306.15794",
        licence="that of the genomes",
        flaws=FLAWS,
    )


TASKS.add(
    "species",
    TaskFamily("species", SpeciesConfig, build, "species from windows of any FASTA files"),
)
