"""Whatever a FASTA or BED file holds, it is read as a plain reader would, or refused in one line.

ICL_EXAMPLES sets how many files are made up; 200 of each kind without it.
"""

import gzip
import os
import re
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from Bio import bgzf
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.bed import read_bed
from backbone.sequence.fasta import Genome, find_fasta

many = settings(max_examples=int(os.environ.get("ICL_EXAMPLES", "200")), deadline=None)

LINE_ENDS = ("\n", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\v\n")
CLEAN = dict(zip("ACGTNUacgtnu", "ACGTNTACGTNT", strict=True)) | dict.fromkeys(
    "RYSWKMBDHVryswkmbdhv", "N"
)


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def lines_of(content: bytes) -> list[str]:
    return re.split("\r\n|\r|\n", content.decode("utf-8-sig", "replace"))


def plain_fasta(content: bytes) -> dict[str, str] | None:
    """The records of a FASTA file; None if it is none."""
    records: dict[str, str] = {}
    name = None
    for line in lines_of(content):
        if line.startswith(">"):
            name = next(iter(line[1:].split()), "")
            if not name or name in records:
                return None
            records[name] = ""
        elif name is not None:
            records[name] += re.sub("[ \t\v\f]", "", line)
        elif line.strip() and not line.startswith(";"):
            return None
    return records or None


def plain_bed(content: bytes) -> list[tuple[str, int, int, str, str]] | None:
    """The intervals of a BED file; None if it is none."""
    found = []
    for line in lines_of(content):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or cells[0].startswith("#"):
            continue
        numbers = [cell for cell in cells[1:3] if re.fullmatch("[0-9]{1,18}", cell)]
        if re.fullmatch("(track|browser)( .*)?", cells[0]) and len(numbers) < 2:
            continue
        name, strand = [*cells[3:4], ""][0], [*cells[5:6], "+"][0]
        if len(numbers) < 2 or not cells[0].strip() or strand not in ("+", "-", "."):
            return None
        if int(numbers[0]) >= int(numbers[1]):
            return None
        found.append((cells[0], *map(int, numbers), name, "-" if strand == "-" else "+"))
    return found or None


def bgzip(content: bytes) -> bytes:
    file = BytesIO()
    with bgzf.BgzfWriter(fileobj=file) as writer:
        writer.write(content)
        writer.flush()
        return file.getvalue() + bytes.fromhex(
            "1f8b08040000000000ff0600424302001b0003000000000000000000"
        )


headers = st.sampled_from([">a", ">b x", ">chr1\ty", "> c", ">track1", ">ä ö", ">", "> ", ">a"])
letters = st.one_of(
    st.text("ACGT", max_size=9),
    st.sampled_from(["ACGTACGT", "ACGT", "acgtnN", "RYKM", "UUAG", "AC GT", "ACGT ", "\tAC", "",
                     "ACß", "AC-T", "*", ";AC", "1 ACGT", "ACé", "A\x1fC", ">"]),
)  # fmt: skip
usual = st.sampled_from(["ACGTACGTAC", "ACGTACGTAC", "ACGTACGTAC", "ACGT"])
record = st.tuples(
    headers, st.lists(st.one_of(usual, letters), max_size=6), st.sampled_from(LINE_ENDS)
).map(lambda parts: parts[2].join([parts[0], *parts[1]]))
starts = st.sampled_from(["", "", "", "\ufeff", "\n", "; made up\n", "ACGT\n", " ", "\r"])
ends = st.sampled_from(["", "\n", "\r\n", "\r", "\n\n\n", " "])


@st.composite
def fasta_files(draw: st.DrawFn) -> bytes:
    between = draw(st.sampled_from(LINE_ENDS))
    text = draw(starts) + between.join(draw(st.lists(record, max_size=4))) + draw(ends)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16"])))


coordinates = st.one_of(
    st.integers(0, 44).map(str),
    st.sampled_from(["0", "5", "007", "1_0", " 5", "5 ", "+5", "-1", "", "٣", "5.0", "1e3",
                     "999999999999999999", "9999999999999999999", "9" * 5000]),
)  # fmt: skip
cells = st.tuples(
    st.sampled_from(["chr1", "chr1", "track1", "track", "browser", "#chr1", "MT", "CHR1", "", " "]),
    coordinates,
    coordinates,
    st.sampled_from(["a", "", "x y", "train"]),
    st.sampled_from(["0", ""]),
    st.sampled_from(["+", "-", ".", "?", ""]),
)
good = st.tuples(st.sampled_from(["chr1", "track1"]), st.integers(0, 20), st.integers(21, 40)).map(
    lambda row: "\t".join(map(str, row))
)
bed_line = st.one_of(
    good,
    st.tuples(cells, st.integers(0, 6), st.sampled_from(["\t", "\t", "\t", " ", "  "])).map(
        lambda row: row[2].join(row[0][: row[1]])
    ),
    st.sampled_from(["track name=x", "track", "browser hide all", "# x", "", " ", "track\tx\ty"]),
)


@st.composite
def bed_files(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from(LINE_ENDS[:5]))
    lines = draw(st.lists(st.one_of(good, bed_line), max_size=6))
    return (draw(st.sampled_from(["", "\ufeff"])) + end.join([*lines, ""])).encode()


packings = st.sampled_from([bytes, bytes, gzip.compress, bgzip])
suffixes = st.sampled_from([".fa", ".FA", ".fas", ".fasta", ".fna", ".fsa"])


@many
@given(fasta_files(), packings, suffixes, st.sampled_from(["", ".gz", ".bgz"]), st.integers(0, 99))
def test_any_fasta_file(content, pack, suffix, end, cut) -> None:
    packed = pack(content)
    is_cut = pack is not bytes and cut > 90
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}{end}")
        path.write_bytes(packed[: cut - 100] if is_cut else packed)
        expected = None if is_cut else plain_fasta(content)
        if expected is None:
            with pytest.raises(InputError) as error:
                Genome(find_fasta([folder]))
            assert "\n" not in str(error.value)
            return
        for _ in range(2):  # the second time from the cache
            genome = Genome(find_fasta([folder]))
            assert [record.name for record in genome.records] == list(expected)
            for record in genome.records:
                compare(genome, record, expected[record.name])
        assert [found.name for found in Path(folder).iterdir()] == [path.name]


def compare(genome: Genome, record, letters: str) -> None:
    """Read all of a record, and each half of what is DNA in it, and compare."""
    strange = next((i for i, letter in enumerate(letters) if letter not in CLEAN), None)
    if strange is None:
        assert record.length == len(letters)
    known = "".join(CLEAN[letter] for letter in letters[:strange])
    for start, end in ((0, len(known) // 2), (len(known) // 2, len(known)), (0, record.length)):
        try:
            found = genome.sequence(record.name, start, end)
        except InputError as error:
            assert "\n" not in str(error)
            assert start == end or end > len(known)
        else:
            assert end <= len(known) and found == known[start:end]


@many
@given(bed_files(), packings, st.integers(0, 99))
def test_any_bed_file(content, pack, cut) -> None:
    packed = pack(content)
    is_cut = pack is not bytes and cut > 90
    texts = {"chr1": "ACGTTGCAAC" * 4, "track1": "TTGACCGATA" * 4}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.bed")
        path.write_bytes(packed[: cut - 100] if is_cut else packed)
        expected = None if is_cut else plain_bed(content)
        if expected is None:
            with pytest.raises(InputError) as error:
                read_bed(path)
            assert "\n" not in str(error.value)
            return
        found = read_bed(path)
        assert [(at.record, at.start, at.end, at.name, at.strand) for at in found] == expected
        Path(folder, "x.fa").write_text("".join(f">{name}\n{texts[name]}\n" for name in texts))
        genome = Genome([Path(folder, "x.fa")])
        for at in found:
            inside = at.record in texts and at.end <= 40
            try:
                forward = texts.get(at.record, "")[at.start : at.end]
                turned = forward.translate(str.maketrans("ACGT", "TGCA"))[::-1]
                assert genome.cut(at) == (turned if at.strand == "-" else forward) and inside
            except InputError as error:
                assert not inside and str(error).startswith(f"{path}, line ")
                assert "\n" not in str(error)
