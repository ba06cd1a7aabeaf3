"""The audit of a task: what a classifier could exploit.

It finds test rows that are copies or near-duplicates of training rows, sequences with conflicting
labels, and how well length, composition and unusual letters alone predict the class. This module
has the numbers; `tasks.audit.wording` turns them into text.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tasks.audit.coordinates import Place, Published, overlapping, places_of, published, texts_of
from tasks.audit.exposure import BUNDLED, exposure, occurring
from tasks.audit.kinship import Kinship, counted, kinship
from tasks.audit.resplit import removed_by_class
from tasks.audit.shortcuts import KMERS, Shortcut, shortcuts
from tasks.division import canonical_strand
from tasks.kinds import kind_of
from tasks.metrics.bootstrap import Estimate
from tasks.task import Example, Kind, Splits, Task, label_text


@dataclass(frozen=True)
class Conflicts:
    """Sequences that have more than one label.

    Attributes:
        sequences: How many, a sequence and its reverse complement counted as one.
        rows: Rows that hold them.
        across: How many of the sequences have one label in test and another one elsewhere.
    """

    sequences: int
    rows: int
    across: int


@dataclass(frozen=True)
class Overlaps:
    """Test rows whose interval overlaps one of train or validation, where coordinates are known.

    Attributes:
        known: Test rows whose coordinates are known.
        any: Of these, rows that share a base.
        half: Rows of which half or more is shared.
        whole: Rows that lie inside one other interval.
        chromosomes: Chromosomes that hold rows of both train and test.
    """

    known: int
    any: int
    half: int
    whole: int
    chromosomes: int


@dataclass(frozen=True)
class Pretraining:
    """Which test rows the checkpoint saw in pretraining.

    Attributes:
        inside: Test rows that occur, base by base, in the sequences given as its corpus; None if
            none were given.
        seen: Test rows on chromosomes of which it saw some.
        unseen: Test rows on other chromosomes.
        seen_score: Score of k-mer counts on the seen rows, for comparison with a model's score
            there, since k-mer counts have not been pretrained; None without such rows.
        unseen_score: The same on the others.
    """

    inside: int | None
    seen: int
    unseen: int
    seen_score: Estimate | None
    unseen_score: Estimate | None


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        task: Name.
        kind: Kind of the task: classes, multi_label or regression.
        origin: Where the rows come from and how they are split.
        data_sha256: Hash of the rows.
        relations: Rows with a relative, by the closest one, as `tasks.audit.kinship.counted` gives
            them: `train` to earlier training rows, `val` to train, `test` to train and validation,
            and `test_in_train` to train alone.
        test_by_class: The same for the test rows of each class.
        conflicts: Sequences with conflicting labels.
        overlaps: Overlaps of intervals; None where no coordinates are known.
        shortcuts: Scores of simple features alone.
        unknown: Share of N in the training rows of each class.
        lower_case: Share of lower-case letters in the published rows of each class; None where
            it is not available.
        clean: Test rows that the clean split leaves out and keeps, by class.
        pretraining: What the checkpoint saw of the test rows.
    """

    task: str
    kind: Kind
    origin: str
    data_sha256: str
    relations: dict[str, dict[str, int]]
    test_by_class: dict[str, dict[str, int]]
    conflicts: Conflicts
    overlaps: Overlaps | None
    shortcuts: tuple[Shortcut, ...]
    unknown: dict[str, float]
    lower_case: dict[str, float] | None
    clean: dict[str, tuple[int, int]]
    pretraining: Pretraining


def audit(
    task: Task,
    splits: Splits,
    data: Path | None = None,
    *,
    regions: Path = BUNDLED,
    corpus: Sequence[str] = (),
) -> Audit:
    """Audit one division of a task.

    Args:
        task: Task of the rows.
        splits: The rows.
        data: Where they come from; coordinates and the published text are read there.
        regions: BED file of what the checkpoint saw; see `tasks.audit.exposure`.
        corpus: FASTA files, folders or globs of what it saw.

    Raises:
        InputError: If the tables or one of these files cannot be read.
    """
    related = kinship(splits)
    rows = published(task, data)
    texts = texts_of(rows)
    everything = (*splits.train, *splits.val, *splits.test)

    def lower_case(sequences: Sequence[str]) -> np.ndarray:
        return np.array([[_lower_case(texts.get(sequence, ""))] for sequence in sequences])

    return Audit(
        task=task.name,
        kind=task.kind,
        origin=splits.origin,
        data_sha256=splits.sha256,
        relations={
            "train": counted(related.train),
            "val": counted(related.val),
            "test": counted(related.test),
            "test_in_train": counted(related.test_in_train),
        },
        test_by_class=_by_class(task, splits, related),
        conflicts=find_conflicts(splits),
        overlaps=_overlaps(splits, rows),
        shortcuts=tuple(shortcuts(task, splits, {"lower case": lower_case} if texts else None)),
        unknown=_mean_by_class(task, splits.train, lambda s: s.count("N") / len(s)),
        lower_case=(
            _mean_by_class(task, everything, lambda s: _lower_case(texts.get(s, "")))
            if texts
            else None
        ),
        clean=removed_by_class(task, splits, related),
        pretraining=_pretraining(task, splits, places_of(rows), regions, corpus),
    )


def find_conflicts(splits: Splits) -> Conflicts:
    """Find the sequences of a division that have more than one label."""
    learned: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, set[str]] = defaultdict(set)
    rows: dict[str, int] = defaultdict(int)
    for found, examples in ((learned, (*splits.train, *splits.val)), (asked, splits.test)):
        for example in examples:
            strand = canonical_strand(example.sequence)
            found[strand].add(label_text(example.label))
            rows[strand] += 1
    several = [strand for strand in rows if len(learned[strand] | asked[strand]) > 1]
    across = sum(
        bool(learned[strand] and asked[strand]) and learned[strand] != asked[strand]
        for strand in several
    )
    return Conflicts(len(several), sum(rows[strand] for strand in several), across)


def _by_class(task: Task, splits: Splits, related: Kinship) -> dict[str, dict[str, int]]:
    if task.kind != "classes":
        return {}
    rows = kind_of(task).groups(task, splits.test)
    return {name: counted(related.test[of_class]) for name, of_class in rows.items()}


def _overlaps(splits: Splits, rows: Sequence[Published]) -> Overlaps | None:
    places = places_of(rows)
    if not places:
        return None
    learned = (*splits.train, *splits.val)
    shares = overlapping(splits.test, learned, places)
    chromosomes = [
        {places[e.sequence].chromosome for e in examples if e.sequence in places}
        for examples in (learned, splits.test)
    ]
    return Overlaps(
        known=int((~np.isnan(shares)).sum()),
        any=int((shares > 0).sum()),
        half=int((shares >= 0.5).sum()),
        whole=int((shares >= 1).sum()),
        chromosomes=len(chromosomes[0] & chromosomes[1]),
    )


def _pretraining(
    task: Task, splits: Splits, places: dict[str, Place], regions: Path, corpus: Sequence[str]
) -> Pretraining:
    inside = None
    if corpus:
        from backbone.sequence.fasta import Genome, find_fasta

        genome = Genome(find_fasta(corpus))
        texts = (genome.letters(record).tobytes() for record in genome.records)
        inside = int(occurring([example.sequence for example in splits.test], texts).sum())
    found = exposure(splits.test, places, regions)
    scores: list[Estimate | None] = []
    for chosen in (found.seen, found.unseen):
        test = tuple(e for e, take in zip(splits.test, chosen, strict=True) if take)
        scores.append(_kmer_score(task, replace(splits, test=test)) if test else None)
    return Pretraining(inside, int(found.seen.sum()), int(found.unseen.sum()), *scores)


def _kmer_score(task: Task, splits: Splits) -> Estimate | None:
    """Return the score of k-mer counts on the test rows; None where no features differ."""
    found = {one.name: one for one in shortcuts(task, splits, only=KMERS)}
    return found[KMERS].score if KMERS in found else None


def _mean_by_class(
    task: Task, examples: Sequence[Example], share: Callable[[str], float]
) -> dict[str, float]:
    """Return the mean of a share over the rows of each class; of all rows without classes."""
    shares = np.array([share(example.sequence) for example in examples])
    rows = kind_of(task).groups(task, examples)
    return {name: float(shares[at].mean()) for name, at in rows.items() if at.any()}


def _lower_case(text: str) -> float:
    return sum(map(str.islower, text)) / len(text) if text else 0.0
