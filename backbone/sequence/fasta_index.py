"""FASTA files of any common form, opened so that pyfaidx can seek in them.

pyfaidx seeks by an index (.fai, and .gzi for bgzip) that needs lines of one length. A file that has
them is indexed where it is. Any other, with blank or ragged lines, line ends of old Macs, a byte
order mark, or compressed by plain gzip, is rewritten once with one line per record. Index and copy
lie in the user's cache folder under a name that changes whenever the file does.
"""

import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyfaidx
import rich.progress
from rich.console import Console

from backbone.common.errors import InputError
from backbone.common.files import (
    GZIP,
    READ_ERRORS,
    atomic_replace,
    cache_folder,
    open_bytes,
    open_text,
    temporary_cache,
)

VERSION = 1
"""Part of the names in the cache; goes up when their content would be another one."""

PIECE = 1 << 20
"""Bytes of a line that are read at once: a record may be one line of 250 million bases."""

LARGE = 1 << 26
"""Bytes of a file whose reading takes seconds and shows a bar."""

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every bgzip file (SAM specification, section 4.1.2)."""

_GZIP_SUFFIXES = (".gz", ".bgz")
_BLANKS = b" \t\r\n\v\f"
_WITHOUT_BLANKS = dict.fromkeys(_BLANKS)

FETCH_ERRORS = (*READ_ERRORS, ValueError, IndexError, KeyError, struct.error)
"""What pyfaidx and Biopython raise for a file that is damaged."""

IndexRow = tuple[str, int, int, int, int]
"""A line of a .fai: name, bases, offset of the first, bases per line, bytes per line."""


def open_indexed(path: Path) -> pyfaidx.Faidx:
    """Open a FASTA file, after indexing or rewriting it if that was not done before.

    Raises:
        InputError: If the file is missing, empty, damaged or no FASTA file, or nowhere is room for
            its copy.
    """
    if not path.is_file():
        raise InputError(f"no FASTA file at {str(path)!r}")
    try:
        name, is_bgzf = _state(path), _is_bgzf(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    folder = cache_folder("fasta")
    try:
        return _open(path, folder / name, is_bgzf)
    except OSError:
        folder = temporary_cache()  # the cache is full, or went away
    try:
        return _open(path, folder / name, is_bgzf)
    except OSError as error:
        raise InputError(
            f"cannot save an index or a copy of {path} in {folder} or in the cache folder: "
            f"{error.strerror or error}; free some space, or name a folder in XDG_CACHE_HOME"
        ) from error


def damaged(path: Path, reason: object) -> InputError:
    """Return the error of a file that cannot be read to its end."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return InputError(f"{path} is truncated or no FASTA file: {text}")


def _state(path: Path) -> str:
    """Name the present content of a file, without reading it; ctime cannot be set by hand."""
    status = path.stat()
    stamps = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return hashlib.sha256(f"{VERSION} {path.resolve()} {stamps}".encode()).hexdigest()[:32]


def _is_bgzf(path: Path) -> bool:
    """Whether pyfaidx would seek in a compressed file: one of bgzip that is named like one."""
    with path.open("rb") as file:
        start = file.read(18)
        if not start.startswith(GZIP) or start[12:14] != b"BC":
            return False
        file.seek(max(0, path.stat().st_size - len(BGZF_END)))
        if file.read() != BGZF_END:
            raise damaged(path, "it does not end with the last block of bgzip")
    return path.name.lower().endswith(_GZIP_SUFFIXES)


def _open(path: Path, cached: Path, is_bgzf: bool) -> pyfaidx.Faidx:
    """Open a file by its index, or its copy by the copy's; make one of them if there is none.

    Args:
        path: The file.
        cached: Name of all that belongs to it in the cache, without a suffix.
        is_bgzf: Whether it is compressed in blocks, and its name says so.

    Raises:
        OSError: If the cache cannot be written.
        InputError: If the file is damaged or no FASTA file.
    """
    fai, gzi, copy = (cached.with_suffix(suffix) for suffix in (".fai", ".gzi", ".fa"))
    copy_fai = cached.with_suffix(".fa.fai")
    if fai.exists() and (gzi.exists() or not is_bgzf):
        with suppress(*FETCH_ERRORS):  # a damaged cache is made again
            return _faidx(path, fai, gzi)
    if copy.exists() and copy_fai.exists():
        with suppress(*FETCH_ERRORS):
            return _faidx(copy, copy_fai, gzi)
    blocks = _blocks(path) if is_bgzf else None
    can_seek = blocks is not None if is_bgzf else not _is_gzip(path)
    rows = _scan(path) if can_seek else None
    if rows is not None:
        if blocks is not None:
            _write(np.array([len(blocks), *chain(*blocks)], "<u8").tobytes(), gzi, path)
        _write_fai(rows, fai, path)
        return _faidx(path, fai, gzi)
    with atomic_replace(copy) as temporary:
        rows = _rewrite(path, temporary)
    _write_fai(rows, copy_fai, copy)
    print(f"{path}: copied once to {copy}, to read parts of it", file=sys.stderr)
    return _faidx(copy, copy_fai, gzi)


def _faidx(path: Path, fai: Path, gzi: Path) -> pyfaidx.Faidx:
    return pyfaidx.Faidx(
        str(path), indexname=str(fai), gzi_indexname=str(gzi), as_raw=True, rebuild=False
    )


def _is_gzip(path: Path) -> bool:
    """Whether a file is compressed, or pyfaidx would believe so."""
    with path.open("rb") as file:
        return file.read(2) == GZIP or path.name.lower().endswith(_GZIP_SUFFIXES)


def _write_fai(rows: list[IndexRow], fai: Path, path: Path) -> None:
    lines = ["\t".join(map(str, row)) + "\n" for row in rows]
    _write("".join(lines).encode(), fai, path)


def _write(content: bytes, index: Path, path: Path) -> None:
    """Write an index as old as its file: pyfaidx warns where it is older."""
    with atomic_replace(index) as temporary:
        temporary.write_bytes(content)
        status = path.stat()
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))


def _blocks(path: Path) -> list[tuple[int, int]] | None:
    """Return where the blocks of a bgzip file begin, compressed and not, as a .gzi has them.

    None where a block is as large as can be, as Biopython writes them: pyfaidx cannot start to
    read at its end.

    Raises:
        InputError: If the file is damaged.
    """
    from Bio import bgzf

    try:
        with path.open("rb") as file:
            blocks = list(bgzf.BgzfBlocks(file))
    except FETCH_ERRORS as error:
        raise damaged(path, error) from error
    if any(length == 1 << 16 for *_, length in blocks):
        return None
    return [(start, text) for start, _, text, _ in blocks][1:-1]


def _scan(path: Path) -> list[IndexRow] | None:
    """Return the index of a file, or None if pyfaidx could not seek in it.

    Raises:
        InputError: If the file cannot be read to its end.
    """
    try:
        with _progress(path, "indexing") as raw, open_bytes(path, raw) as file:
            return _index(file)
    except READ_ERRORS as error:
        raise damaged(path, error) from error


def _progress(path: Path, verb: str) -> AbstractContextManager[BinaryIO]:
    """Open a file for reading; a bar shows how far a large one was read."""
    return rich.progress.open(
        path,
        "rb",
        description=f"{verb} {path.name}",
        console=Console(stderr=True),
        transient=True,
        disable=path.stat().st_size < LARGE,
    )


def _index(file: BinaryIO) -> list[IndexRow] | None:
    """Return the index of the records in some bytes, or None if their lines are not regular.

    All lines of a record must have the same number of bases and end alike, but for the last one,
    which may be shorter or lack its end. Blank lines may follow it.
    """
    rows: list[IndexRow] = []
    names: set[str] = set()
    name, offset, length, bases, width = "", 0, 0, 0, 0
    position, is_over = 0, False  # the byte after the line; whether the last line was read
    for start, end, letters, size in _lines(file):
        position += size
        if start.startswith(b">"):
            words = start[1:].decode("utf-8", "replace").split()
            if b"\r" in start[:-2] or start is not end or not words or words[0] in names:
                return None
            if name:
                rows.append((name, length, offset, bases, width))
            name, offset, length, bases, width = words[0], position, 0, 0, 0
            names.add(name)
            is_over = False
            continue
        line_end = 2 if end.endswith(b"\r\n") else end.count(b"\n")
        if letters + line_end != size:
            return None  # blanks, or line ends of old Macs
        if not letters or not name and start.startswith(b";"):
            is_over = bool(name)
            continue
        if not name or is_over or length and letters > bases:
            return None
        if not length:
            bases, width = letters, size
        if letters == bases and size != width and line_end:
            return None  # pyfaidx takes the end of a full line to be as long as the first one's
        is_over = (letters, size) != (bases, width)
        length += letters
    return [*rows, (name, length, offset, bases, width)] if name else None


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Yield of each line the first and the last piece, its letters, and its bytes."""
    while start := file.readline(PIECE):
        end, letters, size = start, len(start.translate(None, _BLANKS)), len(start)
        while not end.endswith(b"\n") and (piece := file.readline(PIECE)):
            end = piece
            letters += len(piece.translate(None, _BLANKS))
            size += len(piece)
        yield start, end, letters, size


def _rewrite(path: Path, copy: Path) -> list[IndexRow]:
    """Write the records of a file with one line each, and return the index of that.

    Raises:
        OSError: If the copy cannot be written.
        InputError: If the file is damaged or no FASTA file.
    """
    rows: dict[str, IndexRow] = {}
    name, offset, length = "", 0, 0
    number, is_start = 0, True  # of the line, and whether the next piece begins one
    is_header = False
    with copy.open("wb") as out:
        for piece in _pieces(path):
            if is_start:
                number += 1
                is_header = piece.startswith(">")
            if is_start and is_header:
                out.write(b"\n" if rows else b"")
                name, offset, length = (piece[1:].split() or [""])[0], 0, 0
                if not name:
                    raise InputError(f"{path}, line {number}: the record has no name")
                if name in rows:
                    raise InputError(f"{path}, line {number}: duplicate record name {name!r}")
                out.write(f">{name}\n".encode())
                offset = out.tell()
                rows[name] = (name, 0, offset, 0, 1)
            elif not is_header:
                letters = piece.translate(_WITHOUT_BLANKS).encode("utf-8")
                if letters and not name and is_start and not piece.startswith(";"):
                    raise InputError(
                        f"{path} is not a FASTA file: line {number} comes before any record, which "
                        f"begins with > and a name"
                    )
                if name:
                    length += out.write(letters)
                    rows[name] = (name, length, offset, length, length + 1)
            is_start = piece.endswith("\n")
    if not rows:
        raise InputError(f"{path} is empty; a FASTA file has records, which begin with >")
    return list(rows.values())


def _pieces(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, long ones in pieces.

    Raises:
        InputError: If the file cannot be read to its end.
    """
    try:
        with _progress(path, "copying") as raw, open_text(path, raw, errors="replace") as file:
            while piece := file.readline(PIECE):
                yield piece
    except READ_ERRORS as error:
        raise damaged(path, error) from error
