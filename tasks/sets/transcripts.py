"""Transcripts with their biotypes, from a table or from Ensembl's FASTA files."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.dna import normalise
from tasks.sources.tables import read_columns

TABLES = (".tsv", ".csv", ".tsv.gz", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Transcript:
    """One transcript: its cleaned sequence, its biotype, and the gene that it comes from."""

    sequence: str
    biotype: str
    gene: str


def read_transcripts(path: Path, gene: str | None) -> list[Transcript]:
    """Read a table, or a FASTA file of Ensembl (cdna.all or ncrna, as it is or unpacked).

    Args:
        path: A table with the columns `sequence` and `label`; or FASTA whose headers hold
            `transcript_biotype:` and `gene:`.
        gene: Column of a table that tells the gene. Of a RefSeq title, such as "... (BCL7A),
            transcript variant 2, mRNA", it is what stands in the last brackets. None: each row of a
            table is a gene of its own.

    Raises:
        InputError: If the file cannot be read, or a row cannot be used.
    """
    is_table = path.name.endswith(TABLES)
    rows = _table(path, gene) if is_table else _ensembl(path)
    found = []
    for number, one in enumerate(rows):
        try:
            sequence, _ = normalise(one.sequence.strip(), number)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if not sequence:
            raise InputError(f"{path}: row {number} has an empty sequence; remove the row")
        found.append(replace(one, sequence=sequence))
    if not found:
        raise InputError(f"{path}: no transcript in it")
    return found


def _table(path: Path, gene: str | None) -> Iterator[Transcript]:
    names = ["sequence", "label"] + ([] if gene is None else [gene])
    table = read_columns(path, names)
    genes = [""] * len(table) if gene is None else table[gene]
    rows = zip(table["sequence"], table["label"], genes, strict=True)
    for number, (sequence, label, text) in enumerate(rows):
        yield Transcript(sequence, label, _symbol(text) or f"row {number}")


def _symbol(title: str) -> str:
    """What stands in a title's last brackets, or all of it where there are none."""
    before, closed, _ = title.rpartition(")")
    return before.rpartition("(")[2] if closed and "(" in before else title


def _ensembl(path: Path) -> Iterator[Transcript]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii") as file:
            records = list(SimpleFastaParser(file))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as FASTA: {error}") from error
    for title, sequence in records:
        facts = dict(word.split(":", 1) for word in title.split() if ":" in word)
        if "transcript_biotype" not in facts or "gene" not in facts:
            raise InputError(
                f"{path}: record {title.split(' ')[0]} does not say its transcript_biotype: and "
                f"gene:, as the headers of Ensembl's cdna.all and ncrna files do"
            )
        yield Transcript(sequence, facts["transcript_biotype"], facts["gene"])


def left_out(transcripts: Sequence[Transcript], biotypes: Sequence[str], min_rows: int) -> str:
    """Says which biotypes are not asked for, with their rows.

    Args:
        transcripts: All there are.
        biotypes: Those that are asked for.
        min_rows: Rows that each of them must have: one row cannot be divided into three splits.

    Raises:
        InputError: If one of them has fewer.
    """
    counts = Counter(one.biotype for one in transcripts)
    for name in biotypes:
        if counts[name] < min_rows:
            there = ", ".join(f"{one} ({count})" for one, count in counts.most_common())
            raise InputError(
                f"biotype {name!r} has {counts[name]} rows and task.min_rows={min_rows}: leave it "
                f"out of task.biotypes; there are {there}"
            )
    rest = [f"{name} ({count})" for name, count in counts.most_common() if name not in biotypes]
    return f"left out: {', '.join(rest)}" if rest else ""


def matched_lengths(
    sequences: Sequence[str], labels: Sequence[int], random: np.random.Generator
) -> list[str]:
    """Crop so that length says next to nothing about the class.

    The class with the shortest median stays as it is. Every other sequence is cropped, at a random
    place, to a length drawn from the lengths of that class that are not beyond its own.

    Args:
        sequences: N sequences.
        labels: Their classes.
        random: Moves the draws.

    Returns:
        The N sequences, cropped.
    """
    lengths, label = np.array([len(s) for s in sequences]), np.asarray(labels)
    shortest = min(np.unique(label).tolist(), key=lambda one: np.median(lengths[label == one]))
    pool = np.sort(lengths[label == shortest])
    cropped = []
    for sequence, one in zip(sequences, label.tolist(), strict=True):
        fitting = int(np.searchsorted(pool, len(sequence), side="right"))
        if one == shortest or not fitting:
            cropped.append(sequence)
            continue
        cropped.append(crop(sequence, int(pool[random.integers(fitting)]), random))
    return cropped


def crop(sequence: str, length: int, random: np.random.Generator) -> str:
    """A part of at most `length` letters, at a random place."""
    if len(sequence) <= length:
        return sequence
    start = int(random.integers(len(sequence) - length + 1))
    return sequence[start : start + length]
