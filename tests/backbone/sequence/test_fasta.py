"""Genomes: records, intervals, BED files, and the error for everything that is wrong."""

import errno
import gzip
import os
import random
from pathlib import Path

import pyfaidx
import pytest
from Bio import bgzf

from backbone.common.errors import InputError
from backbone.sequence import fasta_index
from backbone.sequence.dna import PROTEIN
from backbone.sequence.fasta import Genome, find_fasta


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def bgzip(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with bgzf.BgzfWriter(str(path)) as file:
        file.write(text.encode())
    return path


def test_reads_plain_and_bgzip_alike(tmp_path: Path, monkeypatch) -> None:
    # pyfaidx would build indexes in place, and reads a long line whole to do it.
    monkeypatch.delattr(pyfaidx.Faidx, "build_index")
    monkeypatch.delattr(pyfaidx.Faidx, "build_gzi")
    text = ">one first record\nACGTA\nCC\n>two\nggnru\n"
    for path in (write(tmp_path / "d" / "a.fa", text), bgzip(tmp_path / "d" / "b.fa.gz", text)):
        genome = Genome([path])
        assert [(r.name, r.length) for r in genome.records] == [("one", 7), ("two", 5)]
        assert genome.sequence("one", 3, 7) == "TACC"
        assert genome.sequence("one", 3, 7, "-") == "GGTA"
        assert genome.sequence("two", 0, 5) == "GGNNT"  # lower case, IUPAC and U are cleaned


def test_leaves_nothing_beside_the_data(tmp_path: Path) -> None:
    path = bgzip(tmp_path / "data" / "a.fa.gz", ">a\nACGT\n")
    Genome([path]).sequence("a", 0, 4)
    assert [p.name for p in path.parent.iterdir()] == ["a.fa.gz"]
    assert Genome([path]).sequence("a", 0, 4) == "ACGT"  # now from the cached index


def test_a_changed_file_is_indexed_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGT\n")
    Genome([path])
    write(path, ">b\nAACCGGTT\n")
    assert Genome([path]).sequence("b", 0, 8) == "AACCGGTT"


def test_finds_files_folders_and_globs_once(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, ">a\nA\n") for name in ("a.fa", "b, (x)=1.fa"))
    write(tmp_path / "notes.txt", "x")
    assert find_fasta([str(tmp_path), str(a), str(tmp_path / "*.fa")]) == [a, b]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (">a\nAC!T\n", "record a, position 3: '!'"),
        ("hello\n", "not a FASTA file: line 1 comes before any record"),
        ("", "a.fa is empty"),
        (">a\nA\n>a\nC\n", "line 3: duplicate record name 'a'"),
        (">a\nA\n> \nC\n", "line 3: the record has no name"),
    ],
)
def test_bad_fasta_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.fa", content)
    with pytest.raises(InputError, match=message) as error:
        genome = Genome([path])
        genome.letters(genome.records[0])
    assert "\n" not in str(error.value)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    text = ">a\n" + "ACGTTGCA\n" * 5000
    whole = bgzip(tmp_path / "a.fa.gz", text).read_bytes()
    plain = gzip.compress(text.encode())
    for content in (whole, plain):
        for cut in (10, len(content) // 2, len(content) - 7):
            path = tmp_path / f"cut{cut}.fa.gz"
            path.write_bytes(content[:cut])
            with pytest.raises(InputError, match="truncated"):
                Genome([path])


ODD = {
    "blank lines": b">a x\nACG\n\n\nT\n\n>b\nGG\n\n",
    "old Mac": b">a x\rACG\rT\r>b\rGG\r",
    "mixed ends": b">a x\r\nACG\r\nT\n>b\nGG",
    "same bytes, other ends": b">a\r\nACG\r\nTACG\nT\r\n>b\nGG\n",
    "a full last line that ends otherwise": b">a\r\nAC\r\nGT\n>b\nGG\n",
    "byte order mark": b"\xef\xbb\xbf>a x\nACG\nT\n>b\nGG\n",
    "ragged lines": b">a x\nA\nCGT\n>b\nG\nG\n",
    "blanks in lines": b">a x\nAC G \nT\n>b\n\tGG\n",
    "comment": b"; made by hand\n\n>a\nACG\nT\n>b\nGG\n",
    "umlaut": ">a \xe4\nACGT\n>b\nGG\n".encode("latin-1"),
    "empty record": b">a\nACGT\n>b\nGG\n>c\n",
}


@pytest.mark.parametrize("suffix", [".fa", ".FA", ".fas", ".Fasta.gz", ".fna.GZ", ".fsa.bgz"])
@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_as_they_are_meant(tmp_path: Path, name: str, suffix: str) -> None:
    content = ODD[name]
    path = tmp_path / "d" / f"x{suffix}"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if suffix.lower().endswith("gz") else content)
    for _ in range(2):  # the second time from the cache
        genome = Genome(find_fasta([str(path.parent)]))
        first = "ACGTACGT" if name.startswith("same") else "ACGT"
        assert [r.name for r in genome.records][:2] == ["a", "b"]
        assert genome.letters(genome.records[0]).tobytes().decode() == first
        assert genome.sequence("a", 1, 4) == "CGT" and genome.sequence("b", 1, 2) == "G"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_plain_gzip_is_copied_once_and_says_so(tmp_path: Path, capsys) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(b">a\nACGT\n"))
    assert Genome([path]).sequence("a", 1, 3) == "CG"
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: copied once to ") and said.count("\n") == 1
    assert Genome([path]).sequence("a", 1, 3) == "CG"
    assert capsys.readouterr().err == ""


def test_names_tell_nothing_about_compression(tmp_path: Path) -> None:
    plain, packed = tmp_path / "x.fa.gz", tmp_path / "y.fa"
    plain.write_bytes(b">a\nACGT\n")
    bgzip(packed, ">a\nACGT\n")
    assert Genome([plain]).sequence("a", 0, 4) == Genome([packed]).sequence("a", 0, 4) == "ACGT"


def test_an_interval_may_begin_where_a_block_does(tmp_path: Path) -> None:
    sequence = "".join(random.Random(0).choices("ACGT", k=200_000))
    # Biopython's blocks are as large as can be, and pyfaidx cannot seek to the end of one.
    genome = Genome([bgzip(tmp_path / "a.fa.gz", f">a\n{sequence}\n")])
    for start in (65_532, 65_533, 65_534, 131_069):
        assert genome.sequence("a", start, start + 9) == sequence[start : start + 9]


def test_an_interval_of_a_long_record_costs_its_own_bases(tmp_path: Path, monkeypatch) -> None:
    sequence = "".join(random.Random(0).choices("ACGT", k=100_000))
    lines = "\n".join(sequence[i : i + 60] for i in range(0, len(sequence), 60))
    genome = Genome([write(tmp_path / "a.fa", f">a\n{lines}\n")])
    read = []
    fetch = pyfaidx.Faidx.fetch
    monkeypatch.setattr(
        pyfaidx.Faidx, "fetch", lambda *given: read.append(fetch(*given)) or read[-1]
    )
    assert genome.sequence("a", 70_000, 70_050) == sequence[70_000:70_050]
    assert [len(text) for text in read] == [50]
    assert not genome._letters


def test_a_line_of_many_pieces_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(fasta_index, "PIECE", 7)
    for text in (
        ">a\nACGTACGTACGTACGTAC\nGT\n>b\r\nAACCGGTTAACC\r\n",
        ">a\rACGTACGTACGTACGTACGT\r>b\rAACCGGTTAACC",
    ):
        genome = Genome([write(tmp_path / "a.fa", text)])
        assert genome.sequence("a", 0, 20) == "ACGT" * 5
        assert genome.sequence("b", 3, 12) == "CGGTTAACC"


def test_unknown_records_and_intervals_outside(tmp_path: Path) -> None:
    one = write(tmp_path / "a.fa", ">chr1\nACGT\n")
    genome = Genome([one])
    with pytest.raises(InputError, match="have 'chr1'.*UCSC writes chr1 and chrM"):
        genome.record("1")
    with pytest.raises(InputError, match="has 4 bases"):
        genome.sequence("chr1", 2, 5)
    both = Genome([one, write(tmp_path / "b.fa", ">chr1\nA\n")])
    with pytest.raises(InputError, match="a.fa and .*b.fa"):
        both.record("chr1")


def test_bgzip_cut_between_two_blocks_is_refused(tmp_path: Path) -> None:
    whole = bgzip(tmp_path / "a.fa.gz", ">a\n" + "ACGTTGCA\n" * 20_000).read_bytes()
    end = whole.rindex(b"\x1f\x8b\x08\x04")
    assert len(whole) - end == 28  # the empty block that ends the file
    (tmp_path / "cut.fa.gz").write_bytes(whole[:end])
    with pytest.raises(InputError, match="cut.fa.gz is truncated"):
        Genome([tmp_path / "cut.fa.gz"])
    pyfaidx.Faidx(str(tmp_path / "a.fa.gz"))  # writes indexes, which fit the cut file as well
    (tmp_path / "a.fa.gz").write_bytes(whole[:end])
    os.utime(tmp_path / "a.fa.gz", (0, 0))
    with pytest.raises(InputError, match="truncated.*last block of bgzip"):
        Genome([tmp_path / "a.fa.gz"])


def test_an_index_beside_a_file_is_neither_believed_nor_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    foreign = write(tmp_path / "a.fa.fai", "a\t4\t3\t4\t5\n")
    for newer in (path, foreign):
        os.utime(newer, (2e9, 2e9))
        assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
        assert foreign.read_text() == "a\t4\t3\t4\t5\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_cache_is_made_again(tmp_path: Path, pack) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(pack(b">a\nACGTACGT\n"))
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
    (index,) = (tmp_path / "cache").rglob("*.fai")
    index.write_text("a\t8\n")
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"


def test_a_file_that_keeps_size_and_date_is_indexed_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    status = path.stat()
    Genome([path])
    write(path, ">ab\nCGTACGT\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [(r.name, r.length) for r in Genome([path]).records] == [("ab", 7)]


@pytest.mark.parametrize("content", [b">a\nACGTACGT\n", gzip.compress(b">a\nACGTACGT\n")])
def test_a_full_cache_costs_time_alone(tmp_path: Path, monkeypatch, content: bytes) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(content)
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    write_bytes = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if cache in self.parents or elsewhere.name == "none":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
    assert not [file for file in cache.rglob("*") if file.suffix == ".fai"]
    elsewhere = Path("none")
    with pytest.raises(InputError, match="a.fa in .*: No space left on device; free some space"):
        Genome([path])


def test_an_index_is_kept_elsewhere_where_no_folder_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
    assert list(tmp_path.glob("genomic-icl-*/*.fai"))


def test_soft_masked_letters_can_stay_in_lower_case(tmp_path: Path) -> None:
    genome = Genome([write(tmp_path / "a.fa", ">a\nACgtnRrA\n")])
    (record,) = genome.records
    assert genome.stretch(record, 1, 8, keep_case=True).tobytes() == b"CgtnNnA"
    assert genome.letters(record).tobytes() == b"ACGTNNNA"
    assert genome.stretch(record, 1, 8, keep_case=True).tobytes() == b"CgtnNnA"
    protein = Genome([write(tmp_path / "p.fa", ">p\nMkb*\n")], PROTEIN)  # a stop has no case
    assert protein.stretch(protein.records[0], 0, 4, keep_case=True).tobytes() == b"MkxX"


@pytest.mark.parametrize(
    ("asked", "likely"),
    [("MT", "chrM"), ("m", "chrM"), ("CHR1", "chr1"), ("1", "chr1"), ("chromosome1", "chr1"),
     ("chrx", "X"), ("chr2", "they have chr1, chr11, X, chrM, scaffold_7")],
)  # fmt: skip
def test_a_record_of_another_naming_style_is_named(tmp_path: Path, asked: str, likely: str) -> None:
    names = ("chr1", "chr11", "X", "chrM", "scaffold_7")
    path = write(tmp_path / "a.fa", "".join(f">{name}\nACGT\n" for name in names))
    with pytest.raises(InputError, match=f"no record '{asked}'.*{likely}") as error:
        Genome([path]).record(asked)
    assert "\n" not in str(error.value)


def test_everyday_files(cases: Path) -> None:
    folder = cases / "genomes"
    found = {path.name: Genome([path]) for path in find_fasta([str(folder)])}
    lengths = {name: [r.length for r in genome.records] for name, genome in found.items()}
    assert lengths["blank_lines.fa"] == [27, 20]
    assert lengths["UPPER.FA"] == lengths["short_suffix.fas"] == [40]
    packed = gzip.decompress((folder / "plain_gzip.fa.gz").read_bytes()).decode()
    name, *lines = packed.split(">")[1].split("\n")
    record = found["plain_gzip.fa.gz"].record(name.split()[0])
    assert found["plain_gzip.fa.gz"].letters(record).tobytes().decode() == "".join(lines).upper()
