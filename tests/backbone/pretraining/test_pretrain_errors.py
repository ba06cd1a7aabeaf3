"""What is wrong with genomes, regions and runs, at the command line: one line, exit code 2."""

import os
from pathlib import Path

import pytest
import torch
from Bio import bgzf

from backbone.pretrain import main

BASES = "ACGTTGCA" * 30


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a plain and a truncated bgzip genome, a masked one, and a stale index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("a.fa").write_text(f">chr1\n{BASES}\n>chr2\n{BASES}\n")
    Path("n.fa").write_text(">chr1\n" + "N" * 500 + "\n")
    Path("masked.fa").write_text(f">chr1\n{BASES.lower()}\n")
    with bgzf.BgzfWriter("whole.fa.gz") as file:
        file.write(f">chr1\n{BASES * 500}\n".encode())
    Path("cut.fa.gz").write_bytes(Path("whole.fa.gz").read_bytes()[:-40])
    Path("stale.fa").write_text(f">chr1\n{BASES}\n")
    Path("stale.fa.fai").write_text("chr1\t8\t6\t8\t9\n")
    os.utime("stale.fa.fai", (0, 0))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def run(*words):
    small = "max_seq_len=32 first_length=32 batch_tokens=32 tokens=64 d_model=8 n_layer=1 threads=1"
    return main(["out=run", *small.split(), *words])


@pytest.mark.parametrize(
    ("words", "bed", "message"),
    [
        ("fasta=b.fa", "", "no FASTA file at 'b.fa'"),
        ("fasta=cut.fa.gz", "", "cut.fa.gz is truncated or no FASTA file"),
        ("fasta=a.fa", "chr1\t0\t241\ttrain", "chr1:0-241 is not inside its record, which has 240"),
        ("fasta=a.fa", "1\t0\t200\ttrain", "have no record '1' but have 'chr1': two naming styles"),
        ("fasta=a.fa", "chrX\t0\t9\ttrain", "have no record 'chrX'; they have chr1, chr2"),
        ("fasta=a.fa", "chr1\t0\t30\ttrain\nchr2\t9\t20\ttrain", "window of 33 bases (the longest"),
        ("fasta=n.fa", "", "every window of 33 bases has more than 10% N; raise max_unknown"),
        ("fasta=masked.fa max_soft_masked=0.2", "", "or more than 20% in lower case"),
        ("fasta=a.fa", "chr1\t0\t200\tdev", "must be train, valid or test"),
        ("genomes.a.fasta=a.fa genomes.b.fasta=b.fa", "", "no FASTA file at 'b.fa'"),
        ("genomes.a.weight=2", "", "genomes.a.fasta= is missing"),
        ("genomes.a.fasta=a.fa genomes.a.weight=0", "", "genomes.a.weight=0.0: must be more"),
    ],
)
def test_one_line_and_nothing_on_the_disk(folder, capsys, words, bed, message):
    if bed:
        Path("x.bed").write_text(bed + "\n")
        words += " bed=x.bed"
    assert run(*words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not Path("run").exists()


def test_a_stale_index_is_made_anew_elsewhere(folder):
    before = Path("stale.fa.fai").read_text()
    assert run("fasta=stale.fa") == 0
    assert Path("stale.fa.fai").read_text() == before
    assert list(Path("cache").rglob("*.fai"))


def test_going_on_with_another_configuration_says_what_differs(folder, capsys):
    words = ["genomes.a.fasta=a.fa", "genomes.a.holdout=chr2"]
    assert run(*words, "genomes.a.weight=2") == 0
    before = sorted(Path("run").rglob("*"))
    capsys.readouterr()
    assert run(*words, "genomes.a.weight=3", "lr=0.1", "tokens=96") == 2
    error = capsys.readouterr().err
    assert "holds a run with lr=0.0006, not 0.1; genomes.a.weight=2.0, not 3.0; give" in error
    assert error.count("\n") == 1
    assert sorted(Path("run").rglob("*")) == before
    assert run(*words, "genomes.a.weight=2", "tokens=96") == 0  # a budget may change
