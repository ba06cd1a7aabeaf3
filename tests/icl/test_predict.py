"""What a run has learned, on sequences without labels."""

import csv
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from backbone.sequence.bed import Interval
from backbone.sequence.dna import reverse_complement
from icl import predict
from icl.method import Context
from icl.reporting.report import find_reports
from icl.truncation import Cut

SEQUENCES = {"first": "GGGCGCGCCATTGCA" * 3, "second": "AATTATAATCATAAA" * 2 + "NNGAC"}


@pytest.fixture
def finished(call, tiny, tmp_path):
    """The folder of a finished run whose scores depend on the strand of nothing but its rows."""
    call("task=tiny_rows", "method=kmer_logreg", "method.kmer=2")
    (path,) = find_reports(tmp_path)
    fasta = tmp_path / "x.fa"
    fasta.write_text("".join(f">{name} text\n{text}\n" for name, text in SEQUENCES.items()))
    return path.parent, fasta


@pytest.fixture
def ask(capsys):
    def one(*words):
        return predict.main(list(words)), capsys.readouterr().err

    return one


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_record_is_scored(finished, ask, tmp_path):
    run, fasta = finished
    code, err = ask(f"run={run}", f"fasta={fasta}", f"out={tmp_path / 'scores.tsv'}")
    assert (code, err) == (0, "")
    rows = rows_of(tmp_path / "scores.tsv")
    assert [(r["record"], r["start"], r["end"], r["strand"]) for r in rows] == [
        ("first", "0", "45", "+"),
        ("second", "0", "35", "+"),
    ]
    assert [r["predicted"] for r in rows] == ["rich", "poor"]
    method, _ = predict.load_method(run)
    expected = predict.predict(method, list(SEQUENCES.values()))
    found = [[float(r["p_poor"]), float(r["p_rich"])] for r in rows]
    np.testing.assert_array_equal(found, expected)


def test_intervals_of_a_bed_file_are_cut_out_with_their_strand(finished, ask, tmp_path):
    run, fasta = finished
    (tmp_path / "x.bed").write_text("second\t3\t20\tone\t0\t-\nfirst\t0\t9\ttwo\t0\t+\n")
    ask(
        f"run={run}",
        f"fasta={fasta}",
        f"bed={tmp_path / 'x.bed'}",
        f"out={tmp_path / 'scores.tsv'}",
        "strands=forward",
    )
    cut = [reverse_complement(SEQUENCES["second"][3:20]), SEQUENCES["first"][:9]]
    method, _ = predict.load_method(run)
    rows = rows_of(tmp_path / "scores.tsv")
    assert [(r["record"], r["name"], r["strand"]) for r in rows] == [
        ("second", "one", "-"),
        ("first", "two", "+"),
    ]
    found = [[float(r["p_poor"]), float(r["p_rich"])] for r in rows]
    np.testing.assert_array_equal(found, predict.predict(method, cut, strands="forward"))


def test_both_strands_are_averaged():
    class ShareOfA:
        averages_strands = False
        context = Context(("a", "other"), 0, load_backbone=lambda: None)

        def read_forward_alone(self):
            return None

        def check(self, examples):
            assert all(e.label == 0 for e in examples)

        def scores(self, examples):
            share = np.array([e.sequence.count("A") / len(e.sequence) for e in examples])
            return np.log(np.stack([share, 1 - share], axis=1))

    np.testing.assert_allclose(predict.predict(ShareOfA(), ["AAATC"]), [[0.4, 0.6]])
    forward = predict.predict(ShareOfA(), ["AAATC"], strands="forward")
    np.testing.assert_allclose(forward, [[0.6, 0.4]])


def test_mistakes_are_one_line_and_write_nothing(finished, ask, tmp_path):
    run, fasta = finished
    out = tmp_path / "scores.tsv"
    (tmp_path / "far.bed").write_text("first\t0\t900\n")
    for words, part in (
        ((f"run={tmp_path}", f"fasta={fasta}"), "there is no report"),
        ((f"run={run}", f"fasta={tmp_path / 'absent.fa'}"), "absent.fa"),
        ((f"run={run}", f"fasta={fasta}", f"bed={tmp_path / 'far.bed'}"), "first:0-900"),
        ((f"run={run}", f"fasta={fasta}", "strands=none"), "strands=none"),
        ((f"run={run}", f"fasta={fasta}", "stands=both"), "did you mean strands?"),
        ((f"run={run}",), "fasta= is missing"),
    ):
        code, err = ask(*words, f"out={out}")
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and part in err
    code, err = ask(f"run={run}", f"fasta={fasta}", "out=/proc/here/scores.tsv")
    assert code == 2 and err.count("\n") == 1
    (run / "learned.safetensors").write_bytes(b"cut off")
    code, err = ask(f"run={run}", f"fasta={fasta}", f"out={out}")
    assert code == 2 and "learned.safetensors" in err
    assert not out.exists()


@pytest.mark.parametrize("side", ["right", "left", "center"])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_only_the_part_that_is_read_is_taken_from_the_file(side, strand):
    sequence = "ACGTTGCATTAGGCA"
    whole = Interval("r", 2, 13, strand=strand)
    for most in (4, 11, 50):
        cut = Cut(side, most)
        text = sequence[2:13] if strand == "+" else reverse_complement(sequence[2:13])
        part = predict.interval_read(whole, cut)
        found = sequence[part.start : part.end]
        assert (found if strand == "+" else reverse_complement(found)) == cut.text(text)


PEAK = "print([line.split()[1] for line in open('/proc/self/status') if line[:5] == 'VmHWM'][0])"


@pytest.mark.skipif(not os.environ.get("ICL_LARGE"), reason="ICL_LARGE=1 writes 250 MB and runs it")
def test_an_interval_of_250_million_bases_needs_less_than_400_mb(call, tmp_path):
    call("task=synthetic_easy", "method=kmer_logreg", "method.kmer=2")
    (report,) = find_reports(tmp_path)
    line = "".join(random.Random(0).choices("ACGT", k=60)) + "\n"
    with (tmp_path / "large.fa").open("w") as file:
        file.write(">chr1\n")
        for _ in range(250_000_000 // 60):
            file.write(line)
    (tmp_path / "x.bed").write_text("chr1\t124000020\t124000060\n")
    words = [f"run={report.parent}", f"fasta={tmp_path / 'large.fa'}", f"bed={tmp_path / 'x.bed'}"]
    words.append(f"out={tmp_path / 's.tsv'}")
    predict_it = f"from icl.predict import main; main({words})"
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", f"{code}; {PEAK}"]).split()[-1])
        for code in ("import icl.predict, icl.methods.catalog, sklearn.linear_model", predict_it)
    ]
    assert len(rows_of(tmp_path / "s.tsv")) == 1
    assert peaks[1] - peaks[0] < 400 * 1024
