"""Genomes as FASTA files, read through pyfaidx: only the bases of an interval are read.

Coordinates are 0-based and half-open everywhere, as in BED.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.bed import Interval, chromosome
from backbone.sequence.dna import DNA, Alphabet, reverse_complement
from backbone.sequence.fasta_index import FETCH_ERRORS, damaged, open_indexed

_SUFFIX = re.compile(r"\.(fa|fas|fasta|fna|fsa)(\.b?gz)?$", re.IGNORECASE)

LOWER = np.uint8(0x20)
"""The bit that an ASCII letter has in lower case."""


@dataclass(frozen=True)
class Record:
    """One sequence of a FASTA file: its name up to the first blank, its file and its length."""

    name: str
    path: Path
    length: int


@dataclass(frozen=True)
class Region:
    """A stretch of a record: 0-based start, end not included."""

    record: Record
    start: int
    end: int


class Genome:
    """The records of one or more FASTA files: plain text, bgzip or gzip.

    Nothing is written to the data's folder, and no index there is trusted: `open_indexed`
    makes one in the user's cache folder.
    """

    def __init__(self, paths: Iterable[str | Path], alphabet: Alphabet = DNA) -> None:
        """Open the files, and index those that are new or have changed.

        Args:
            paths: FASTA files.
            alphabet: Of their letters.

        Raises:
            InputError: If a file is missing, empty, damaged or not a FASTA file.
        """
        self.alphabet = alphabet
        self._files = {Path(path): open_indexed(Path(path)) for path in paths}
        self._letters: dict[Record, np.ndarray] = {}
        self.records: tuple[Record, ...] = tuple(
            Record(name, path, index.rlen)
            for path, faidx in self._files.items()
            for name, index in faidx.index.items()
        )
        self._by_name: dict[str, list[Record]] = {}
        for record in self.records:
            self._by_name.setdefault(record.name, []).append(record)

    def record(self, name: str) -> Record:
        """Return the record of that name.

        Raises:
            InputError: If there is none, or if two files have one.
        """
        found = self._by_name.get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            files = " and ".join(str(record.path) for record in found)
            raise InputError(f"record {name!r} is in {files}; give only one of these files")
        same = [other for other in self._by_name if chromosome(other) == chromosome(name)]
        if same:
            raise InputError(
                f"the FASTA files have no record {name!r} but have {same[0]!r}: two naming styles "
                f"(UCSC writes chr1 and chrM, Ensembl 1 and MT); rename the records of one side"
            )
        # The nearest name is no hint here: chr2 is near chr1 and is another chromosome.
        few = ", ".join(list(self._by_name)[:5]) + (", ..." if len(self._by_name) > 5 else "")
        raise InputError(f"the FASTA files have no record {name!r}; they have {few}")

    def letters(self, record: Record) -> np.ndarray:
        """Return a whole record as (length,) uint8, the ASCII codes of the alphabet's letters.

        The array is kept in memory (one byte per base) and must not be changed.

        Raises:
            InputError: If the file is damaged, or holds a letter that is not of the alphabet.
        """
        if record not in self._letters:
            self._letters[record] = self.stretch(record, 0, record.length)
        return self._letters[record]

    def stretch(
        self, record: Record, start: int, end: int, *, keep_case: bool = False
    ) -> np.ndarray:
        """Return a part of a record, as `letters` does, without reading or keeping the rest.

        Args:
            record: The record.
            start: First base, counted from 0.
            end: The base after the last one.
            keep_case: Whether letters in lower case stay so, which marks repeats (RepeatMasker,
                Tandem Repeats Finder) in soft-masked assemblies.

        Raises:
            InputError: If the file is damaged, or holds a letter that is not of the alphabet.
        """
        if record in self._letters and not keep_case:
            return self._letters[record][start:end]
        text = self._text(record, start, end)
        try:
            letters = _codes(self.alphabet.clean(text))
        except InputError as error:
            inside = f", from base {start} on" if start else ""
            raise InputError(f"{record.path}, record {record.name}{inside}, {error}") from error
        return letters | (_codes(text) >= ord("a")) * LOWER if keep_case else letters

    def _text(self, record: Record, start: int, end: int) -> str:
        """Read a part of a record from its file, unchanged."""
        try:
            text = self._files[record.path].fetch(record.name, start + 1, end)
        except FETCH_ERRORS as error:
            raise damaged(record.path, error) from error
        if len(text) != end - start:
            raise damaged(record.path, f"record {record.name} ends early")
        return text

    def sequence(self, record: str, start: int, end: int, strand: str = "+") -> str:
        """Return the bases of a part of a record; see `cut`."""
        return self.cut(Interval(record, start, end, strand=strand))

    def cut(self, interval: Interval) -> str:
        """Return the bases of an interval; on strand "-" their reverse complement.

        Raises:
            InputError: If the record is unknown or the interval is not inside it; names the line
                of the interval's BED file, if it comes from one.
        """
        record = self.check(interval)
        forward = self.stretch(record, interval.start, interval.end).tobytes().decode("ascii")
        return reverse_complement(forward) if interval.strand == "-" else forward

    def check(self, interval: Interval) -> Record:
        """Return the record that an interval lies on.

        Raises:
            InputError: As `cut` does.
        """
        where = f"{interval.where}: " if interval.where else ""
        try:
            record = self.record(interval.record)
        except InputError as error:
            raise InputError(f"{where}{error}") from error
        if not 0 <= interval.start < interval.end <= record.length:
            raise InputError(
                f"{where}interval {interval} is not inside its record, which has {record.length} "
                f"bases"
            )
        return record


def is_fasta(path: Path) -> bool:
    """Return whether a file is named as FASTA files are."""
    return _SUFFIX.search(path.name) is not None


def fasta_stem(path: Path) -> str:
    """Return a file's name without the suffixes of FASTA and compression."""
    return _SUFFIX.sub("", path.name)


def find_fasta(patterns: Sequence[str]) -> list[Path]:
    """Resolve files, folders and globs to FASTA files, sorted, each once.

    Raises:
        InputError: If a pattern matches nothing, or a folder holds no FASTA file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        expanded = os.path.expanduser(pattern)
        if os.path.isdir(expanded):
            paths = [path for path in Path(expanded).iterdir() if is_fasta(path)]
        elif os.path.exists(expanded):
            paths = [Path(expanded)]
        else:
            paths = [Path(match) for match in glob.glob(expanded)]
        if not paths:
            raise InputError(f"no FASTA file at {pattern!r}; give a file, a folder or a glob")
        for path in sorted(paths):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _codes(text: str) -> np.ndarray:
    """The ASCII codes of a text, (length,) uint8."""
    return np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
