"""Species from windows of their genomes: any FASTA files, with regions held out.

After Nguyen et al. 2023 (HyenaDNA, arXiv 2306.15794, section 4.4.3): human, lemur, mouse, pig and
hippo, from 1,024 to a million bases, tested on chromosomes that training does not see. The task
gets easier with length, and much of it is composition: report `kmer_logreg` alongside every result.

A region is held out whole. Where a genome has enough records, whole records are held out, as
chromosomes are in the literature; a genome of one record is cut into stretches, with a gap of one
window between them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from zlib import crc32

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from backbone.sequence.dna import reverse_complement
from backbone.sequence.fasta import Genome, Record, Region, fasta_stem, find_fasta
from tasks.division import apportion
from tasks.registry import TASKS, TaskConfig, TaskFamily
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
"""Their folders in the data folder, one FASTA file per chromosome: chr1.fna.gz, chr2.fna.gz, ..."""

PAPER_VAL = ("chr1", "chr3", "chr12", "chr13")
PAPER_TEST = ("chr5", "chr7", "chr9", "chr10", "chr11")
"""The chromosomes that the paper's repository holds out, for every species."""

FLAWS = (
    "base composition alone tells several species apart: gc_only and kmer_logreg on the same rows "
    "say how far it goes, and belong beside every figure",
    "the human genome is what backbones are pretrained on: name what yours did not see in "
    "task.test_records, or say that it has seen the test windows",
    "repeats and duplications put near copies of a held-out region into others of its genome: "
    "python -m tasks check counts them",
)

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Shares of a genome's bases, as far as whole records allow."""

Regions = dict[str, list[Region]]
"""Regions by split: train, val and test."""

IN_MEMORY = 1 << 28
"""Bases up to which a genome is read into memory; windows of a larger one are read one by one."""

UNKNOWN = ord("N")
PROBE = 1000
"""Bases at each end of a record that are searched for in the records of other files."""


@dataclass(frozen=True)
class SpeciesSource:
    """Windows of genomes, the same for the same seed and files.

    Attributes:
        genomes: FASTA files, folders or globs by species; relative ones lie in the data folder.
        length: Bases of a window.
        rows: Rows of train, val and test, shared out evenly over the species.
        val: Records held out for validation; see `names_record`.
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
            # Keyed by name, so that draws from one genome do not depend on the others.
            key = crc32(name.encode())
            try:
                regions = hold_out(
                    genomes[name].records,
                    self.length,
                    stream(split_seed, "species regions", key),
                    self.val,
                    self.test,
                )
                for part, rows in self.rows.items():
                    count = apportion(rows, [1] * len(genomes))[label]
                    windows = self._cut(
                        genomes[name],
                        regions[part],
                        part,
                        count,
                        stream(split_seed, f"species windows of {part}", key),
                    )
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
        for name, patterns in (("val_records", self.val), ("test_records", self.test)):
            for pattern in patterns:
                if not any(_named((pattern,), record) for record in records):
                    some = ", ".join(record.name for record in records[:5])
                    raise InputError(
                        f"task.{name}: no record and no file is called {pattern}; "
                        f"there are {some} ..."
                    )

    def _cut(
        self,
        genome: Genome,
        regions: Sequence[Region],
        part: str,
        count: int,
        random: np.random.Generator,
    ) -> list[str]:
        try:
            return cut_windows(
                genome,
                regions,
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
    """Return where to get the genome of one of the paper's species; empty for another."""
    if name not in ASSEMBLIES:
        return ""
    return (
        f"The paper's {name} is NCBI assembly {ASSEMBLIES[name]}: put its chromosomes as "
        f"species/{name}/chr1.fna.gz, ... into the folder"
    )


def _named(patterns: tuple[str, ...], record: Record) -> bool:
    return any(names_record(pattern, record) for pattern in patterns)


def _described(regions: Regions) -> str:
    """Describe which records are held out whole and how many are cut."""
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
    """Return the rows of all classes in turn: the first of each, then the second of each."""
    longest = max(map(len, classes))
    return [rows[i] for i in range(longest) for rows in classes if i < len(rows)]


def names_record(pattern: str, record: Record) -> bool:
    """Whether a pattern with * and ? is the record's name, or its file's with or without suffix."""
    names = (record.name, record.path.name, fasta_stem(record.path))
    return any(fnmatchcase(name, pattern) for name in names)


def hold_out(
    records: Sequence[Record],
    length: int,
    random: np.random.Generator,
    val: Iterable[str] = (),
    test: Iterable[str] = (),
) -> Regions:
    """Divide the records of one genome.

    Records named for a split are held out; `divide_records` divides the rest.

    Args:
        records: Records of the genome.
        length: Bases of a window; shorter records are left out.
        random: Source of the draws.
        val: Patterns of `names_record` for validation.
        test: The same for test.

    Raises:
        InputError: If a record is named for both, or a split is left without a region.
    """
    named: dict[str, list[Record]] = {
        part: [r for r in records if any(names_record(p, r) for p in patterns)]
        for part, patterns in (("val", val), ("test", test))
    }
    for record in named["val"]:
        if record in named["test"]:
            raise InputError(f"record {record.name} is named for validation and for test")
    taken = {*named["val"], *named["test"]}
    rest = [record for record in records if record not in taken]
    open_parts = {part: share for part, share in SHARES.items() if not named.get(part)}
    regions = divide_records(rest, length, open_parts, random)
    for part, some in named.items():
        regions.setdefault(part, []).extend(Region(r, 0, r.length) for r in some)
        regions[part] = [s for s in regions[part] if s.record.length >= length]
    for part in SHARES:
        if not regions[part]:
            longest = max((record.length for record in records), default=0)
            raise InputError(
                f"no region is left for {part} with windows of {length} bases (the longest record "
                f"has {longest}); give more records, or shorter windows"
            )
    return regions


def divide_records(
    records: Sequence[Record],
    length: int,
    shares: Mapping[str, float],
    random: np.random.Generator,
) -> Regions:
    """Divide records by whole records if possible, else by stretches of each record.

    Whole records are held out where there is one for each split and none has more than half of
    all bases. The order in which records are taken does not depend on `length`.

    Args:
        records: Records of one genome.
        length: Bases of a window; shorter records are left out.
        shares: Wanted shares of the bases by split, train first.
        random: Source of the draws.

    Returns:
        Regiones by split; a split may be left empty.
    """
    order = [records[i] for i in random.permutation(len(records))]
    long = [record for record in order if record.length >= length]
    bases = sum(record.length for record in long)
    if len(shares) == 1:
        return {part: [Region(r, 0, r.length) for r in long] for part in shares}
    if len(long) >= len(shares) and 2 * max(r.length for r in long) <= bases:
        return _whole_records(long, shares)
    # The order of the parts in a record is drawn for every record, whatever its length.
    orders = [random.permutation(len(shares)) for _ in order]
    regions: Regions = {part: [] for part in shares}
    for record, parts in zip(order, orders, strict=True):
        for part, stretch in _cut(record, length, shares, parts):
            regions[part].append(stretch)
    return regions


def _whole_records(records: list[Record], shares: Mapping[str, float]) -> Regions:
    """Give records to test until it has its share, then to validation; train gets the rest."""
    total, left = sum(record.length for record in records), list(records)
    share_of = dict(zip(shares, apportion(total, list(shares.values())), strict=True))
    regions: Regions = {}
    parts = list(shares)
    while len(parts) > 1:
        part = parts.pop()
        wanted, given = share_of[part], 0
        regions[part] = []
        # One record is kept for each of the other splits.
        while given < wanted and len(left) > len(parts):
            # One that is far larger than the share is passed over, unless there is no other.
            fitting = [record for record in left if record.length <= 2 * wanted]
            chosen = fitting[0] if fitting else min(left, key=lambda record: record.length)
            if given and not fitting:
                break
            left.remove(chosen)
            regions[part].append(Region(chosen, 0, chosen.length))
            given += chosen.length
    regions[parts[0]] = [Region(record, 0, record.length) for record in left]
    return regions


def _cut(
    record: Record, length: int, shares: Mapping[str, float], order: np.ndarray
) -> list[tuple[str, Region]]:
    """Return the regions of one record, `length` bases apart; one too short is all train's."""
    parts = [list(shares)[i] for i in order]
    sizes = apportion(record.length, [shares[part] for part in parts])
    ends = np.cumsum(sizes).tolist()
    starts = [0, *(end + (length + 1) // 2 for end in ends[:-1])]
    # The middle of a gap does not depend on the window length.
    ends = [*(end - length // 2 for end in ends[:-1]), record.length]
    if all(end - start >= length for start, end in zip(starts, ends, strict=True)):
        found = zip(parts, starts, ends, strict=True)
        return [(part, Region(record, start, end)) for part, start, end in found]
    return [(next(iter(shares)), Region(record, 0, record.length))] * (record.length >= length)


def cut_windows(
    genome: Genome,
    regions: Sequence[Region],
    length: int,
    rows: int,
    random: np.random.Generator,
    *,
    step: int | None = None,
    max_unknown: float = 0.1,
) -> list[str]:
    """Draw windows without replacement, each on a random strand.

    Windows may start every `step` bases, from an offset that is drawn for each region.

    Args:
        genome: The genome of the regions.
        regions: Every window lies inside one of them.
        length: Bases of a window.
        rows: Number of windows.
        random: Source of the draws.
        step: Bases between two starts; `length` by default, so that windows never overlap.
        max_unknown: Windows with a larger share of N are passed over.

    Raises:
        InputError: If there are fewer windows than `rows`; says how many there are.
    """
    step = length if step is None else step
    starts = []
    for number, region in enumerate(regions):
        room = region.end - region.start - length
        first = int(random.integers(min(step, room + 1))) if room >= 0 else 0
        places = np.arange(region.start + first, region.start + room + 1, step)
        starts.append(np.stack([np.full(len(places), number), places], axis=1))
    order = random.permutation(np.concatenate(starts))
    in_memory = sum(record.length for record in genome.records) <= IN_MEMORY
    found: list[str] = []
    for number, start in order.tolist():
        if len(found) == rows:
            break
        record = regions[number].record
        if in_memory:
            genome.letters(record)
        window = genome.stretch(record, start, start + length)
        if np.count_nonzero(window == UNKNOWN) > max_unknown * length:
            continue
        text = window.tobytes().decode("ascii")
        found.append(reverse_complement(text) if random.random() < 0.5 else text)
    if len(found) < rows:
        raise InputError(
            f"{rows} windows of {length} bases are wanted and there are {len(found)} "
            f"with at most {max_unknown:.0%} N"
        )
    return found


def shared_ends(genome: Genome) -> Iterator[tuple[Record, Record]]:
    """Yield the pairs of records of different files that contain the same DNA.

    The first and the last bases of every record are searched for in the records of the other
    files. Genomes too large for memory are not searched.
    """
    if sum(record.length for record in genome.records) > IN_MEMORY:
        return
    if len({record.path for record in genome.records}) == 1:
        return
    text = {record: genome.letters(record).tobytes() for record in genome.records}
    for one in genome.records:
        ends = [text[one][:PROBE], text[one][-PROBE:]]
        probes = [end for end in ends if len(end) == PROBE and b"N" not in end]
        for other in genome.records:
            if other.path != one.path and any(_holds(text[other], probe) for probe in probes):
                yield one, other


def _holds(text: bytes, probe: bytes) -> bool:
    """Return `probe in text`, ten times as fast on DNA, by comparing eight letters at once.

    The search in `bytes` skips ahead at letters that the probe lacks, and DNA has no such letters.
    """
    width = 8
    first = np.frombuffer(probe[:width], dtype=np.uint64)
    for offset in range(min(width, len(text) - width + 1)):
        words = np.frombuffer(text, np.uint64, (len(text) - offset) // width, offset)
        for word in np.flatnonzero(words == first).tolist():
            start = offset + width * word
            if text[start : start + len(probe)] == probe:
                return True
    return False


@dataclass
class SpeciesConfig(TaskConfig):
    """Options of `task=species`."""

    genomes: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={
            "help": "FASTA files by species, as {human:[h.fa],yeast:[y1.fa,y2.fa]}; "
            "without any the paper's five, in species/NAME",
            "path": True,
        },
    )
    length: int = option(1000, "window length in bases", least=1)
    train_rows: int = option(2000, "training windows, over all species")
    val_rows: int = option(400, "validation windows")
    test_rows: int = option(1000, "test windows")
    val_records: list[str] = option([], "records or files held out for validation, * and ? allowed")
    test_records: list[str] = option(
        [], "the same for test; a genome with neither is split by split_seed"
    )
    step: int | None = option(
        None, "bases between window starts; null: windows do not overlap", least=1
    )
    max_unknown: float = option(0.1, "maximum share of N in a window", least=0, below=1)


def build(options: SpeciesConfig) -> Task:
    """Return the task of some options.

    Raises:
        InputError: If no task can have these options.
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
            raise InputError(f"task.{name}_rows={count}: must be at least one per species")
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
