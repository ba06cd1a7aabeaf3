"""BED files: what is an interval, what is not, and the line of whatever is wrong."""

import gzip
from pathlib import Path

import pytest

from backbone.common.errors import InputError
from backbone.sequence.bed import Interval, read_bed
from backbone.sequence.fasta import Genome


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


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


@pytest.mark.parametrize(
    "line",
    ["chr1\t1_0\t20", "chr1\t 5\t20", "chr1\t5\t20 ", "chr1\t+5\t20", "chr1\t\u0663\t20",
     "chr1\t-1\t20", "chr1\t1e3\t2000", "chr1\t5.0\t20", "chr1\t\t20", f"chr1\t0\t{'9' * 5000}"],
)  # fmt: skip
def test_coordinates_are_digits_and_nothing_else(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "x.bed", f"track name=x\n\n{line}\n")
    with pytest.raises(InputError, match="x.bed, line 3: start and end must be whole numbers, not"):
        read_bed(path)


def test_only_whole_words_make_a_header(tmp_path: Path) -> None:
    lines = [
        "browser position chr1:1-9", "browser\thide all", "track", "track\tname=x", "#chr1\t0\t1",
        "track1\t0\t1", "browserA\t0\t2", "track\t0\t3", "track 0 4",
    ]  # fmt: skip
    found = read_bed(write(tmp_path / "x.bed", "\n".join(lines)))
    assert [(at.record, at.end) for at in found] == [
        ("track1", 1), ("browserA", 2), ("track", 3), ("track", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_line_ends_marks_and_compression_change_nothing(tmp_path: Path, end, mark, pack) -> None:
    path = tmp_path / "x.bed"
    path.write_bytes(pack(f"{mark}chr1\t0\t4\ta{end}{end}chr2\t5\t9\tb\t0\t-{end}".encode()))
    found = read_bed(path)
    assert found == [Interval("chr1", 0, 4, "a"), Interval("chr2", 5, 9, "b", "-")]
    assert [at.where for at in found] == [f"{path}, line 1", f"{path}, line 3"]
    assert [at.columns[3] for at in found] == ["a", "b"]


def test_damaged_and_empty_files_are_one_line(tmp_path: Path) -> None:
    for name, content, message in (
        ("cut.bed.gz", gzip.compress(b"chr1\t0\t4\n")[:-9], "cut.bed.gz: "),
        ("binary.bed", b"\xff\xfe\x00", "binary.bed: "),
        ("empty.bed", b"", "contains no interval"),
        ("headers.bed", b"track x\n#\n", "contains no interval"),
        ("nameless.bed", b"\t0\t4\n", "line 1: has no record name"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            read_bed(tmp_path / name)
        assert "\n" not in str(error.value)


def test_an_interval_outside_its_record_is_named_with_its_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    genome = Genome([write(tmp_path / "a.fa", ">chr1\nACGT\n")])
    path = write(tmp_path / "x.bed", "chr1\t0\t4\nchr1\t2\t5\nMT\t0\t1\n")
    good, far, foreign = read_bed(path)
    assert genome.cut(good) == "ACGT"
    with pytest.raises(InputError, match="x.bed, line 2: interval chr1:2-5 is not inside its rec"):
        genome.cut(far)
    with pytest.raises(InputError, match="x.bed, line 3: the FASTA files have no record 'MT'"):
        genome.cut(foreign)


def test_everyday_files(cases: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = cases / "genomes"
    genome = Genome([folder / "named_track.fa"])
    rows = read_bed(folder / "named_track.bed")
    assert [str(at) for at in rows] == ["track1:0-30", "chr2:0-30", "track1:30-60", "chr2:30-60"]
    assert genome.cut(rows[0]) + genome.cut(rows[2]) == genome.sequence("track1", 0, 60)
    assert read_bed(folder / "bom.bed") == [Interval("chr2", 0, 30, "a")]
    packed = gzip.decompress((folder / "intervals.bed.gz").read_bytes()).decode().split("\n")
    assert [at.columns for at in read_bed(folder / "intervals.bed.gz")] == [
        tuple(line.split("\t")) for line in packed if line
    ]
    (tmp_path / "m.fa").write_text(">chrM\n" + "ACGT" * 40 + "\n>chr1\n" + "ACGT" * 40 + "\n")
    mitochondrion = Genome([tmp_path / "m.fa"])
    named = read_bed(folder / "other_naming.bed")
    for at, likely in zip(named[:2], ("chrM", "chr1"), strict=True):
        with pytest.raises(InputError, match=f"no record '{at.record}' but have '{likely}'"):
            mitochondrion.cut(at)
