"""A task from a FASTA file of each class."""

import gzip
from pathlib import Path

import pytest

from backbone.common.errors import InputError
from tasks.own.fasta import FastaConfig
from tasks.registry import build_task
from tests.tasks.rows import dna


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, sequences, prefix: str) -> str:
    text = "".join(f">{prefix}{n} a note\n{one}\n" for n, one in enumerate(sequences))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def test_every_record_is_a_row_of_the_class_of_its_file(tmp_path):
    some, others = dna(50, 30, seed=1), dna(60, 30, seed=2)
    positives = write(tmp_path / "enhancers.fa.gz", some, "p")
    negatives = write(tmp_path / "rest.fasta", others, "n")
    task = build_task(FastaConfig("fasta", positives=positives, negatives=negatives))
    assert (task.name, task.labels) == ("enhancers", ("negative", "positive"))
    splits = task.splits(0)
    rows = [*splits.train, *splits.val, *splits.test]
    assert {(e.sequence, e.label) for e in rows} == {
        *((one, 1) for one in some), *((one, 0) for one in others),
    }  # fmt: skip
    assert {e.name for e in rows} == {f"p{n}" for n in range(50)} | {f"n{n}" for n in range(60)}
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [77, 11, 22]
    assert "the records of rest.fasta and the records of enhancers.fa.gz" in splits.origin
    assert "labels: by the file of a record" in splits.notes


def test_test_files_are_the_test_rows(tmp_path):
    files = {
        name: write(tmp_path / f"{name}.fa", dna(20 if "test" in name else 40, 30, seed), name)
        for seed, name in enumerate(("positives", "negatives", "test_positives", "test_negatives"))
    }
    splits = build_task(FastaConfig("fasta", **files)).splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [72, 8, 40]
    assert all(e.name.startswith("test_") for e in splits.test)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give both task.positives=FASTA and task.negatives="),
        ({"positives": "a.fa"}, "give both task.positives=FASTA and task.negatives="),
        (
            {"positives": "a.fa", "negatives": "b.fa", "test_positives": "c.fa"},
            "give both task.test_positives=FASTA and task.test_negatives=",
        ),
        ({"positives": "/no/such.fa", "negatives": "/no/such.fa"}, "no FASTA file at"),
    ],
)
def test_a_missing_file_is_one_line(given, message):
    with pytest.raises(InputError, match=message):
        build_task(FastaConfig("fasta", **given))
