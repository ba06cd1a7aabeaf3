"""Windows along sequences: what each is, what the track says, and what comes out of a run."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.sequence.bed import Interval
from icl import predict, scan
from icl.reporting.report import find_reports
from icl.scan import window_starts, windows_of

CHROMOSOME = "".join(np.random.default_rng(0).choice(list("ACGT"), size=100)) + "N" * 90 + "ACCA"


@given(length=st.integers(1, 60), window=st.integers(1, 20), step=st.integers(1, 30))
def test_every_base_has_one_value_of_a_window_that_is_inside(length, window, step):
    found = list(windows_of(Interval("r", 7, 7 + length, strand="-"), window, step))
    assert [t for one in found for t in range(one.start, one.end)] == list(range(7, 7 + length))
    for one in found:
        assert 7 <= one.at.start < one.at.end <= 7 + length and one.at.strand == "-"
        assert one.at.end - one.at.start == min(window, length)
    assert found[-1].at.end == 7 + length
    starts = [one.at.start - 7 for one in found]
    assert starts[:-1] == [i * step for i in range(len(starts) - 1)]


def test_windows_by_hand():
    assert window_starts(10, 4, 3).tolist() == [0, 3, 6]
    assert window_starts(11, 4, 3).tolist() == [0, 3, 6, 7]
    assert window_starts(3, 4, 3).tolist() == [0]
    # Centres 2, 5, 8 of 10 bases: the borders lie between them.
    borders = [(w.start, w.end) for w in windows_of(Interval("r", 0, 10), 4, 3)]
    assert borders == [(0, 4), (4, 7), (7, 10)]


@pytest.fixture
def ask(call, tiny, tmp_path, capsys, monkeypatch):
    """Scans with a finished run: gives the rows of the table and of the track."""
    monkeypatch.setattr(scan, "CHUNK", 3)
    (tmp_path / "x.fa").write_text(f">chr1\n{CHROMOSOME}\n>chr2\nACGTACGGA\n")

    def one(method: str, *words: str):
        call("task=tiny_rows", *method.split(), f"out={tmp_path / 'runs'}")
        (path,) = find_reports(tmp_path / "runs")
        capsys.readouterr()
        given = [f"run={path.parent}", f"fasta={tmp_path / 'x.fa'}", f"out={tmp_path / 's.tsv'}"]
        code = predict.main([*given, *words])
        err = capsys.readouterr().err
        if code:
            return code, err, path.parent
        with (tmp_path / "s.tsv").open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        track = [line.split("\t") for line in (tmp_path / "s.bedgraph").read_text().splitlines()]
        return rows, track, path.parent

    return one


@pytest.mark.parametrize(
    "method",
    [
        "method=kmer_logreg method.kmer=2",
        "method=linear_probe threads=1",
        "method=soft_prompt k=1 method.epochs=1 threads=1",
        "method=few_shot k=1 threads=1",
    ],
)
def test_a_scan_says_what_the_run_says_of_every_window(ask, method):
    rows, track, folder = ask(method, "window=20", "step=15", "columns=[sequence]", "threads=1")
    expected = [*range(0, 91, 15), 174]  # windows of N alone are left out
    starts = [int(row["start"]) for row in rows if row["record"] == "chr1"]
    assert [s for s in starts if s < 100 or s > 170] == starts == expected
    loaded, _ = predict.load_method(folder)
    texts = [row["sequence"] for row in rows]
    answers = predict.predict(loaded, texts)
    for row, values, answer in zip(rows, track, answers, strict=True):
        name, start, end = row["record"], int(row["start"]), int(row["end"])
        assert row["sequence"] == (CHROMOSOME if name == "chr1" else "ACGTACGGA")[start:end]
        found = [float(row["p_poor"]), float(row["p_rich"])]
        np.testing.assert_allclose(found, answer, atol=1e-5)
        assert values[0] == name and float(values[3]) == pytest.approx(found[1], rel=1e-4)
    assert (track[0][1], track[0][2], track[1][1]) == ("0", "18", "18")
    assert track[-1][:3] == ["chr2", "0", "9"]


def test_the_track_may_show_another_class_and_parts_of_records(ask, tmp_path):
    (tmp_path / "x.bed").write_text("chr1\t50\t90\tlate\nchr1\t0\t30\tearly\n")
    rows, track, _ = ask("method=gc_only", "window=20", "class=poor", f"bed={tmp_path / 'x.bed'}")
    assert [row["name"] for row in rows] == ["early"] * 2 + ["late"] * 3
    for row, values in zip(rows, track, strict=True):
        assert float(values[3]) == pytest.approx(float(row["p_poor"]), rel=1e-4)


def test_a_scan_can_be_a_bigwig(ask, tmp_path):
    pyBigWig = pytest.importorskip("pyBigWig")  # noqa: N806
    _, track, folder = ask("method=gc_only", "window=20")
    words = [f"run={folder}", f"fasta={tmp_path / 'x.fa'}", f"out={tmp_path / 't.tsv'}"]
    assert predict.main([*words, "window=20", f"track={tmp_path / 't.bw'}"]) == 0
    bigwig = pyBigWig.open(str(tmp_path / "t.bw"))
    for name, start, end, value in track:
        assert bigwig.values(name, int(start), int(end)) == pytest.approx(
            [float(value)] * (int(end) - int(start))
        )
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "t."))) == [
        "t.bw",
        "t.tsv",
    ]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["window=2000000"], "window=2000000: 2000000 nucleotides exceed"),
        (["step=9"], "step= is for a scan: give window= too"),
        (["window=20", "class=rch"], "did you mean rich"),
        (["window=20", "track=x.wig"], "must end in .bedgraph or .bw"),
        (["window=20", "columns=[label]"], "columns=[label]: must be"),
    ],
)
def test_mistakes_are_one_line(ask, words, part, tmp_path):
    code, err, _ = ask("method=linear_probe threads=1", *words)
    assert code == 2 and err.count("\n") == 1 and part in err
    assert not Path(tmp_path / "s.tsv").exists()


def test_a_sequence_that_is_too_long_is_told_of_windows(ask, tmp_path):
    (tmp_path / "x.fa").write_text(">chr1\n" + "ACGT" * 5000 + "\n")
    code, err, _ = ask("method=linear_probe threads=1")
    assert code == 2 and err.count("\n") == 1 and "or scan long sequences with window=" in err
