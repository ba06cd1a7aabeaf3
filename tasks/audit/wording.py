"""An audit as text: one line for each question, and a summary at the end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.audit.findings import Audit
from tasks.audit.shortcuts import KMERS, NUMBERS, Shortcut
from tasks.kinds import TASK_KINDS

Finding = Literal["", "leak", "labels", "shortcut", "few"]
"""The flaw that a line reveals; empty where there is none."""

REPEATS = 0.03
"""Share of near-duplicates among test rows up to which they are attributed to genomic repeats:
copies of young L1 elements are that similar to one another."""

FEW = 30
"""Fewest rows of a class in a clean test split that can tell methods apart."""

NAMED = ("GC content", *NUMBERS)
"""Features whose score above chance is a flaw of the data. k-mer counts are not among them: they
are what a model of DNA is compared with."""

COUNTS = ("dinucleotides", KMERS)
"""Features that are counts of k-mers."""


@dataclass(frozen=True)
class Line:
    """One question and its answer.

    Attributes:
        question: What was asked.
        rows: Of which rows.
        answer: As text.
        finding: The flaw that it reveals.
    """

    question: str
    rows: str
    answer: str
    finding: Finding = ""


def lines(audit: Audit) -> list[Line]:
    """Return every question of an audit with its answer."""
    return [
        *_relations(audit),
        _conflicts(audit),
        *_overlaps(audit),
        *(_shortcut(audit, one) for one in audit.shortcuts),
        *_letters(audit),
        *_pretraining(audit),
        *_clean(audit),
    ]


def verdict(audit: Audit) -> list[str]:
    """Return the conclusions, one sentence each; the first states whether test rows leak."""
    found = lines(audit)
    leaks = [line for line in found if line.finding == "leak"]
    if leaks:
        said = "; ".join(f"{line.question}, {line.rows}: {line.answer}" for line in leaks)
        kept = sum(keep for _, keep in audit.clean.values())
        sentences = [
            f"LEAK. {said}. Quote split=clean ({kept} test rows) next to the official one."
        ]
    else:
        sentences = ["No leak: no test or validation row is a copy of a training row."]
        if audit.relations["test"]["near"]:
            near = _of(audit.relations["test"]["near"], audit.relations["test"]["rows"])
            sentences[0] += f" {near} test rows resemble one, as copies of repeats do."
    for line in found:
        if line.finding == "labels":
            sentences.append(f"LABELS. {line.answer}: no classifier can be right on all of them.")
        if line.finding == "few":
            sentences.append(f"FEW ROWS. {line.answer}.")
    named = [line for line in found if line.finding == "shortcut"]
    for line in named:
        sentences.append(
            f"SHORTCUT. {line.question}: {line.answer}. Report it alongside any result."
        )
    if not named:
        sentences.append(
            "No shortcut: length, GC content and unusual letters predict no better than chance."
        )
    scored = [one for one in audit.shortcuts if one.score.is_defined]
    if scored:
        best = max(scored, key=lambda one: one.score.value)
        what = TASK_KINDS[audit.kind].validation
        name = f"counts of {best.name}" if best.name in COUNTS else best.name
        sentences.append(f"Strongest baseline: {name}, {what} {best.score}.")
    return sentences


def _relations(audit: Audit) -> Iterator[Line]:
    where = {
        "test": "test rows in train or validation",
        "test_in_train": "test rows in train",
        "val": "validation rows in train",
        "train": "training rows that repeat an earlier training row",
    }
    what = {
        "same": "the same sequence",
        "reverse_complement": "reverse complement",
        "near": "near-duplicate",
    }
    for split, rows in where.items():
        counts = audit.relations[split]
        for kind, question in what.items():
            answer = _of(counts[kind], counts["rows"])
            if split == "test" and counts[kind] and audit.test_by_class:
                by_class = audit.test_by_class.items()
                each = ", ".join(f"{name} {_of(one[kind], one['rows'])}" for name, one in by_class)
                answer = f"{answer}: {each}"
            few = kind == "near" and counts[kind] <= max(1, REPEATS * counts["rows"])
            is_leak = split in ("test", "val") and counts[kind] and not few
            yield Line(question, rows, answer, "leak" if is_leak else "")


def _conflicts(audit: Audit) -> Line:
    found = audit.conflicts
    question = "several labels for one sequence"
    if not found.sequences:
        return Line(question, "all rows", "none")
    answer = (
        f"{found.sequences} sequences in {found.rows} rows have several labels; {found.across} of "
        f"them have other ones in test than in train or validation"
    )
    return Line(question, "all rows", answer, "labels")


def _overlaps(audit: Audit) -> Iterator[Line]:
    rows = "test intervals and those of train or validation"
    found = audit.overlaps
    if found is None:
        yield Line("overlap of intervals", rows, "coordinates are not known")
        return
    answer = (
        f"{_of(found.any, found.known)} share a base, {found.half} share half or more, "
        f"{found.whole} lie inside one; {found.chromosomes} chromosomes are in both"
    )
    yield Line("overlap of intervals", rows, answer, "leak" if found.half else "")


def _shortcut(audit: Audit, one: Shortcut) -> Line:
    what = TASK_KINDS[audit.kind].validation
    answer = f"{what} {one.score} where chance is {one.chance:.3f}"
    finding: Finding = "shortcut" if one.name in NAMED and one.exceeds_chance else ""
    question = one.name if one.name == "majority" else f"{one.name} alone"
    return Line(question, f"{one.rows} test rows", answer, finding)


def _letters(audit: Audit) -> Iterator[Line]:
    yield Line("share of N", "train rows by class", _shares(audit.unknown))
    if audit.lower_case is None:
        yield Line(
            "share of lower case", "rows as published", "the published text is not available"
        )
    else:
        yield Line("share of lower case", "rows as published", _shares(audit.lower_case))


def _pretraining(audit: Audit) -> Iterator[Line]:
    found, rows = audit.pretraining, audit.relations["test"]["rows"]
    if found.inside is not None:
        yield Line("inside the pretraining corpus", "test rows", _of(found.inside, rows))
    if not found.seen + found.unseen:
        yield Line("seen in pretraining", "test rows", "coordinates are not known")
        return
    parts = (("seen", found.seen, found.seen_score), ("unseen", found.unseen, found.unseen_score))
    for name, count, score in parts:
        answer = _of(count, rows)
        if score is not None:
            answer += f"; counts of {KMERS} {TASK_KINDS[audit.kind].validation} {score}"
        yield Line(f"chromosomes {name} in pretraining", "test rows", answer)


def _clean(audit: Audit) -> Iterator[Line]:
    removed = {name: gone for name, (gone, _) in audit.clean.items()}
    kept = {name: keep for name, (_, keep) in audit.clean.items()}
    answer = ", ".join(f"{name} {removed[name]} removed, {kept[name]} left" for name in removed)
    short = [name for name, keep in kept.items() if keep < FEW]
    yield Line("split=clean", "test rows by class", answer)
    if short:
        left = ", ".join(f"{name} {kept[name]}" for name in short)
        yield Line(
            "split=clean",
            "test rows by class",
            f"the clean test split is too small to tell methods apart: {left} rows left",
            "few",
        )


def _of(count: int, rows: int) -> str:
    share = f" ({100 * count / rows:.1f} %)" if count else ""
    return f"{count} of {rows}{share}"


def _shares(by_class: Mapping[str, float]) -> str:
    if not any(by_class.values()):
        return "none"
    return ", ".join(f"{name} {100 * share:.2f} %" for name, share in by_class.items())
