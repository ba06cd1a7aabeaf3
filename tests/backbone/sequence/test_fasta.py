"""Genomes: records, intervals, BED files, and the error for everything that is wrong."""

import gzip
import os
from pathlib import Path

import pyfaidx
import pytest
from Bio import bgzf

from backbone.common.errors import InputError
from backbone.sequence.fasta import Genome, Interval, find_fasta, read_bed


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


def test_reads_plain_and_bgzip_alike(tmp_path: Path) -> None:
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
        ("hello\n", "no FASTA file"),
        ("", "no FASTA file"),
        (">a\nA\n>a\nC\n", "Duplicate"),
    ],
)
def test_bad_fasta_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.fa", content)
    with pytest.raises(InputError, match=message) as error:
        genome = Genome([path])
        genome.letters(genome.records[0])
    assert "\n" not in str(error.value)


def test_truncated_bgzip_and_plain_gzip_are_refused(tmp_path: Path) -> None:
    whole = bgzip(tmp_path / "a.fa.gz", ">a\n" + "ACGTTGCA\n" * 5000).read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 30):
        path = tmp_path / f"cut{cut}.fa.gz"
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="truncated"):
            Genome([path])
    path = tmp_path / "plain.fa.gz"
    path.write_bytes(gzip.compress(b">a\nACGT\n"))
    with pytest.raises(InputError, match="bgzip"):
        Genome([path])


def test_unknown_records_and_intervals_outside(tmp_path: Path) -> None:
    one = write(tmp_path / "a.fa", ">chr1\nACGT\n")
    genome = Genome([one])
    with pytest.raises(InputError, match="UCSC writes chr1, Ensembl 1"):
        genome.record("1")
    with pytest.raises(InputError, match="has 4 bases"):
        genome.sequence("chr1", 2, 5)
    both = Genome([one, write(tmp_path / "b.fa", ">chr1\nA\n")])
    with pytest.raises(InputError, match="a.fa and .*b.fa"):
        both.record("chr1")


def test_reads_bed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.bed", "#c\nchr1\t0\t4\ttrain\nchr1 5 9\nchr2\t1\t2\tvalid\t0\t-\n\n")
    assert read_bed(path) == [
        Interval("chr1", 0, 4, "train"),
        Interval("chr1", 5, 9),
        Interval("chr2", 1, 2, "valid", "-"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [("chr1\t5", "three columns"), ("chr1\tx\t5", "whole numbers"), ("chr1\t5\t5", "start < end")],
)
def test_bad_bed_names_the_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "x.bed", f"chr1\t0\t1\n{line}\n")
    with pytest.raises(InputError, match=f"line 2.*{message}"):
        read_bed(path)


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


def test_a_stale_index_beside_a_file_is_not_believed_and_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    stale = write(tmp_path / "a.fa.fai", "a\t4\t3\t4\t5\n")
    for is_older in (True, False):  # a copy that keeps its date is found out by its length
        if is_older:
            os.utime(stale, (0, 0))
        else:
            os.utime(path, (0, 0))
        assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
        assert stale.read_text() == "a\t4\t3\t4\t5\n"


def test_a_true_index_beside_a_file_is_used(tmp_path: Path, monkeypatch) -> None:
    for text in (
        ">a\nACGT\nAC\n>b x\nGG\n",
        ">a\nACGT\nAC\n>b x\nGG",
        ">a\nACGT\nAC\n>b x\nGG\n\n",
    ):
        path = write(tmp_path / "a.fa", text)
        write(tmp_path / "a.fa.fai", "a\t6\t3\t4\t5\nb\t2\t16\t2\t3\n")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "unused"))
        assert Genome([path]).sequence("b", 0, 2) == "GG"
        assert not (tmp_path / "unused").exists()


def test_an_index_that_says_nonsense_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    write(tmp_path / "a.fa.fai", "a\t8\t3\t0\t0\n")
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
    gz = bgzip(tmp_path / "b.fa.gz", ">a\nACGTACGT\n")
    write(tmp_path / "b.fa.gz.fai", "a\t4000\t3\t80\t81\n")
    (tmp_path / "b.fa.gz.gzi").write_bytes(bytes(8))
    with pytest.raises(InputError, match="b.fa.gz is truncated or no FASTA file"):
        Genome([gz]).sequence("a", 0, 8)


def test_an_index_is_kept_elsewhere_where_no_folder_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.fa", ">a\nACGTACGT\n")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Genome([path]).sequence("a", 0, 8) == "ACGTACGT"
    assert list(tmp_path.glob("genomic-icl-*/*.fai"))


def test_soft_masked_letters_are_known_beside_the_cleaned_ones(tmp_path: Path) -> None:
    genome = Genome([write(tmp_path / "a.fa", ">a\nACgtnRrA\n")])
    (record,) = genome.records
    assert genome.letters(record).tobytes() == b"ACGTNNNA"
    assert genome.soft_masked(record).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
        True,
        False,
    ]
