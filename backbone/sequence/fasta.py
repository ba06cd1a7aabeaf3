"""Genomes as FASTA files, and BED regions on them; read through pyfaidx, free of torch.

Coordinates are 0-based and half-open everywhere, as in BED.
"""

import glob
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyfaidx

from backbone.common.errors import InputError
from backbone.sequence.alphabet import DNA, Alphabet
from backbone.sequence.dna import reverse_complement

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz", ".fa.bgz")

BGZF_SUFFIXES = (".gz", ".bgz")
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every bgzip file (SAM specification, section 4.1.2)."""

# What pyfaidx and Biopython raise for a file that is damaged or is no FASTA.
_READ_ERRORS = (OSError, ValueError, EOFError, IndexError, KeyError, zlib.error, struct.error)


@dataclass(frozen=True)
class Interval:
    """A stretch of a record: 0-based start, end not included; name is the 4th column of BED."""

    record: str
    start: int
    end: int
    name: str = ""
    strand: str = "+"

    def __str__(self) -> str:
        """The interval as it is written in genome browsers, with BED coordinates."""
        return f"{self.record}:{self.start}-{self.end}"


@dataclass(frozen=True)
class Record:
    """One sequence of a FASTA file: its name up to the first blank, its file and its length."""

    name: str
    path: Path
    length: int


class Genome:
    """The records of one or more FASTA files, each read once, when it is first asked for.

    Files are plain text or bgzip. An index that lies beside a file and is not older is used;
    otherwise one is made in the user's cache folder, never in the folder of the data.
    """

    def __init__(self, paths: Iterable[str | Path], alphabet: Alphabet = DNA) -> None:
        """Opens and indexes the files.

        Args:
            paths: FASTA files.
            alphabet: of their letters.

        Raises:
            InputError: if a file is missing, empty, damaged or compressed with plain gzip.
        """
        self.alphabet = alphabet
        self._files = {Path(path): _open(Path(path)) for path in paths}
        self._letters: dict[Record, np.ndarray] = {}
        self.records: tuple[Record, ...] = tuple(
            Record(name, path, index.rlen)
            for path, faidx in self._files.items()
            for name, index in faidx.index.items()
        )

    def record(self, name: str) -> Record:
        """Returns the record of that name.

        Raises:
            InputError: if there is none, or if two files have one.
        """
        found = [record for record in self.records if record.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            files = " and ".join(str(record.path) for record in found)
            raise InputError(f"record {name!r} is in {files}; give one of these files alone")
        other = name.removeprefix("chr") if name.startswith("chr") else f"chr{name}"
        if any(record.name == other for record in self.records):
            raise InputError(
                f"the FASTA files have no record {name!r} but have {other!r}: two naming styles "
                f"(UCSC writes chr1, Ensembl 1); rename the records of one side"
            )
        some = ", ".join(record.name for record in self.records[:5])
        raise InputError(f"the FASTA files have no record {name!r}; they have {some} ...")

    def letters(self, record: Record) -> np.ndarray:
        """Returns a whole record as (length,) uint8, the ASCII codes of the alphabet's letters.

        The array is kept in memory (one byte a base) and must not be changed.

        Raises:
            InputError: if the file is damaged, or holds a letter that is not of the alphabet.
        """
        if record not in self._letters:
            self._letters[record] = self.stretch(record, 0, record.length)
        return self._letters[record]

    def stretch(self, record: Record, start: int, end: int) -> np.ndarray:
        """Returns a part of a record, as `letters` does, without reading or keeping the rest.

        Raises:
            InputError: if the file is damaged, or holds a letter that is not of the alphabet.
        """
        if record in self._letters:
            return self._letters[record][start:end]
        text = self._text(record, start, end)
        try:
            return _codes(self.alphabet.clean(text))
        except InputError as error:
            raise InputError(f"{record.path}, record {record.name}, {error}") from error

    def soft_masked(self, record: Record) -> np.ndarray:
        """Returns which letters of a record are in lower case in its file, (length,) bool.

        Lower case marks repeats (RepeatMasker, Tandem Repeats Finder) in soft-masked assemblies.

        Raises:
            InputError: if the file is damaged.
        """
        return _codes(self._text(record, 0, record.length)) >= ord("a")

    def _text(self, record: Record, start: int, end: int) -> str:
        """Reads a part of a record from its file, as it is there."""
        try:
            text = self._files[record.path].fetch(record.name, start + 1, end)
        except _READ_ERRORS as error:
            raise _damaged(record.path, error) from error
        if len(text) != end - start:
            raise _damaged(record.path, f"record {record.name} ends early")
        return text

    def sequence(self, record: str, start: int, end: int, strand: str = "+") -> str:
        """Returns the bases of an interval; on strand "-" their reverse complement.

        Raises:
            InputError: if the record is unknown or the interval is not inside it.
        """
        interval = Interval(record, start, end, strand=strand)
        found = self.check(interval)
        forward = self.letters(found)[start:end].tobytes().decode("ascii")
        return reverse_complement(forward) if strand == "-" else forward

    def check(self, interval: Interval) -> Record:
        """Returns the record an interval lies on.

        Raises:
            InputError: if the record is unknown or the interval is not inside it.
        """
        record = self.record(interval.record)
        if not 0 <= interval.start < interval.end <= record.length:
            raise InputError(
                f"interval {interval} is not inside its record, which has {record.length} bases"
            )
        return record


def _codes(text: str) -> np.ndarray:
    """The ASCII codes of a text, (length,) uint8."""
    return np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)


def find_fasta(patterns: Sequence[str]) -> list[Path]:
    """Resolves files, folders and globs to FASTA files, sorted, each once.

    Raises:
        InputError: if a pattern matches nothing, or a folder holds no FASTA file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        expanded = os.path.expanduser(pattern)
        if os.path.isdir(expanded):
            paths = [p for p in Path(expanded).iterdir() if p.name.endswith(FASTA_SUFFIXES)]
        elif os.path.exists(expanded):
            paths = [Path(expanded)]
        else:
            paths = [Path(match) for match in glob.glob(expanded)]
        if not paths:
            raise InputError(f"no FASTA file at {pattern!r}; give a file, a folder or a glob")
        for path in sorted(paths):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_bed(path: str | Path) -> list[Interval]:
    """Reads a BED file: record, start, end and, if there, name (4th) and strand (6th column).

    Raises:
        InputError: for a missing or empty file, or naming the first line that is wrong.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the BED file {path}: {error}") from error
    intervals = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith(("#", "track", "browser")):
            intervals.append(_bed_interval(line, f"{path}, line {number}"))
    if not intervals:
        raise InputError(f"the BED file {path} holds no interval")
    return intervals


def _bed_interval(line: str, where: str) -> Interval:
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) < 3:
        raise InputError(f"{where}: needs three columns (record, start, end), has {len(columns)}")
    try:
        start, end = int(columns[1]), int(columns[2])
    except ValueError as error:
        raise InputError(f"{where}: start and end must be whole numbers") from error
    if not 0 <= start < end:
        raise InputError(f"{where}: needs 0 <= start < end, has {start} and {end}")
    strand = columns[5] if len(columns) > 5 else "+"
    if strand not in ("+", "-", "."):
        raise InputError(f"{where}: strand must be +, - or ., is {strand!r}")
    name = columns[3] if len(columns) > 3 else ""
    return Interval(columns[0], start, end, name, "-" if strand == "-" else "+")


def _open(path: Path) -> pyfaidx.Faidx:
    """Opens a FASTA file with its index, which is built if there is no current one."""
    if not path.is_file():
        raise InputError(f"no FASTA file at {str(path)!r}")
    beside = Path(f"{path}.fai"), Path(f"{path}.gzi")
    needed = beside if path.suffix in BGZF_SUFFIXES else beside[:1]
    changed = path.stat().st_mtime
    current = all(index.is_file() and index.stat().st_mtime >= changed for index in needed)
    if current and (len(needed) > 1 or _ends_where(path, beside[0])):
        return _faidx(path, *beside)
    cached = _cached_index(path)
    with tempfile.TemporaryDirectory(dir=cached[0].parent) as folder:
        # pyfaidx writes in place: build aside, then rename, so that no one reads half an index.
        if not all(index.is_file() for index in cached[: len(needed)]):
            fresh = Path(folder, "fai"), Path(folder, "gzi")
            _faidx(path, *fresh).close()
            for source, target in zip(fresh[: len(needed)], cached, strict=False):
                os.replace(source, target)
    return _faidx(path, *cached)


def _ends_where(path: Path, index: Path) -> bool:
    """Whether a plain file ends where an index says: a copy may be newer than its index's date."""
    try:
        lines = index.read_text(encoding="utf-8").splitlines()
        rows = [[int(column) for column in line.split("\t")[1:5]] for line in lines]
        length, offset, bases, width = max(rows, key=lambda row: row[1])
        breaks = (length - 1) // bases * (width - bases)
    except (ValueError, IndexError, ZeroDivisionError):
        return False
    with path.open("rb") as file:
        file.seek(offset + length + breaks)
        return file.tell() <= path.stat().st_size and not file.read().strip()


def _faidx(path: Path, fai: Path, gzi: Path) -> pyfaidx.Faidx:
    try:
        faidx = pyfaidx.Faidx(
            str(path), indexname=str(fai), gzi_indexname=str(gzi), as_raw=True, rebuild=False
        )
    except pyfaidx.UnsupportedCompressionFormat as error:
        raise InputError(
            f"{path} is compressed, but not with bgzip; "
            f"unpack it, or compress it again with: bgzip {path.with_suffix('')}"
        ) from error
    except (pyfaidx.FastaIndexingError, AssertionError, *_READ_ERRORS) as error:
        raise _damaged(path, error) from error
    if path.suffix in BGZF_SUFFIXES and _last_bytes(path, len(BGZF_END)) != BGZF_END:
        raise _damaged(path, "it does not end with the last block of bgzip")
    if not faidx.index:
        raise InputError(f"{path} holds no FASTA record")
    return faidx


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


def _damaged(path: Path, reason: object) -> InputError:
    text = " ".join(str(reason).split()) or type(reason).__name__
    return InputError(f"{path} is truncated or no FASTA file: {text}")


def cache_folder(kind: str) -> Path:
    """Makes the user's cache folder for one kind of file; a temporary one if it is not writable."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(caches, "genomic-icl", kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="genomic-icl-"))
    if not os.access(folder, os.W_OK):
        folder = Path(tempfile.mkdtemp(prefix="genomic-icl-"))
    return folder


def _cached_index(path: Path) -> tuple[Path, Path]:
    """Names the index files of one state of a file in the cache folder."""
    status = path.stat()
    state = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    stem = hashlib.sha256(state.encode()).hexdigest()[:32]
    folder = cache_folder("fasta")
    return folder / f"{stem}.fai", folder / f"{stem}.gzi"
