import csv

import numpy as np
import pytest

from experiments.overlap import main

RANDOM = np.random.default_rng(0)
GENOME = "".join(RANDOM.choice(list("ACGT"), size=300))


def write_genome(path, text):
    path.write_text(f">{path.stem}\n{text}\n")
    return path


@pytest.fixture
def folder(tmp_path):
    write_genome(tmp_path / "one.fa", GENOME[:150])
    write_genome(tmp_path / "two.fa", GENOME[150:])
    rows = [GENOME[0:50], GENOME[0:50], GENOME[200:250].lower(), "ACGT" * 20]
    lines = ["sequence\tlabel", *(f"{row}\t{i % 2}" for i, row in enumerate(rows))]
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "a.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_rows_are_counted_by_the_region_they_lie_in(folder, capsys):
    # `fasta` names the folder, of which one file is held out.
    words = [f"fasta={folder}", f"valid_fasta={folder}/two.fa", f"data={folder}", "tables=sets/*"]
    assert main([*words, f"out={folder}/counts.csv"]) == 0
    assert list(csv.reader((folder / "counts.csv").open())) == [
        ["file", "rows", "rows_in_train", "rows_in_held_out"],
        ["sets/a.tsv", "4", "2", "1"],
    ]
    assert "sets/a.tsv" in capsys.readouterr().out


def test_where_rows_lie_is_written_as_bed(folder):
    words = [f"fasta={folder}/one.fa", f"data={folder}", "tables=sets/*"]
    assert main([*words, f"out={folder}/c.csv", f"intervals={folder}/rows.bed"]) == 0
    assert (folder / "rows.bed").read_text() == "one\t0\t50\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tables=none*"], "no table at 'none*'"),
        ([], "tables= is missing"),
        (["tables=one.fa"], "cannot tell what table this is"),
        (["tables=sets/*", "table=x"], "did you mean tables?"),
        (["tables=sets/*", "out=/proc/x.csv"], "cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, capsys, words, message):
    assert main([f"fasta={folder}/one.fa", f"data={folder}", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
