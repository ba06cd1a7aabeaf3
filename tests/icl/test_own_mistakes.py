"""Mistakes in one's own tables and intervals: one line, exit code 2, nothing on disk."""

import numpy as np
import pytest

from icl.config.help import help_text
from icl.methods.catalog import METHODS
from tasks.card import SUITING

WORDS = ["".join("ACGT"[i >> 2 * bit & 3] for bit in range(3)) for i in range(64)]
ROWS = [f"{word},{'ab'[i % 2]}" for i, word in enumerate(WORDS)]
BED = [f"chr{1 + i % 3}\t{i}\t{i + 20}\t{'ab'[i % 2]}\t0\t+" for i in range(60)]

TABLES = {
    "label": (["sequence,label", *ROWS], ["sequence,label", "ACGT,c"], "line 2 has the label 'c'"),
    "lone": (["sequence,label", *ROWS[::2], ROWS[1]], None, "class 'b' has no rows in"),
    "twice": (
        ["sequence,label,label", *(f"{r},a" for r in ROWS)],
        None,
        "columns are called label",
    ),
}
INTERVALS = {
    "start": ("chr1\t30\t20\ta\t0\t+", "needs 0 <= start < end"),
    "strand": ("chr1\t10\t20\ta\t0\tx", "strand must be +, - or ."),
    "beyond": ("chr1\t90\t120\ta\t0\t+", "is not inside its record, which has 100 bases"),
    "naming": ("1\t10\t20\ta\t0\t+", "two naming styles"),
    "lone": ("chr1\t10\t20\tc\t0\t+", "class 'c' has no rows in"),
}


def refused(call, tmp_path, words: list[str], message: str) -> None:
    code, _, err = call(*words, "method=gc_only")
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", TABLES)
def test_wrong_tables(name, call, tmp_path):
    train, test, message = TABLES[name]
    (tmp_path / "a.csv").write_text("\n".join(train) + "\n")
    words = ["task=table", "task.train=a.csv"]
    if test:
        (tmp_path / "b.csv").write_text("\n".join(test) + "\n")
        words.append("task.test=b.csv")
    refused(call, tmp_path, words, message)


@pytest.mark.parametrize("name", INTERVALS)
def test_wrong_intervals(name, call, tmp_path):
    line, message = INTERVALS[name]
    random = np.random.default_rng(0)
    drawn = ("".join(random.choice(list("ACGT"), size=100)) for _ in range(3))
    records = "".join(f">chr{i}\n{sequence}\n" for i, sequence in enumerate(drawn, start=1))
    (tmp_path / "g.fa").write_text(records)
    (tmp_path / "x.bed").write_text("\n".join([*BED, line]) + "\n")
    refused(call, tmp_path, ["task=intervals", "task.genome=g.fa", "task.bed=x.bed"], message)


def test_own_tables_run_from_the_command_line(call, tmp_path):
    for name, end in (("a", "A"), ("b", "G")):
        rows = [f"{word}{end},{'no' if i % 4 < 2 else 'yes'}" for i, word in enumerate(WORDS)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["seq,y", *rows]) + "\n")
    words = ["task=table", "task.train=a.csv", "task.test=b.csv"]
    code, out, err = call(*words, "task.sequence=seq", "task.label=y", "method=majority")
    assert code == 0, err
    assert len(list((tmp_path / "runs" / "a" / "majority").rglob("report.json"))) == 1


def test_the_card_names_the_methods_that_suit():
    for kind in ("multi_label", "regression"):
        named = set(SUITING[kind].partition(";")[0].split(", "))
        assert named == {name for name in METHODS.names() if kind in METHODS.get(name).kinds}
    assert all("classes" in METHODS.get(name).kinds for name in METHODS.names())
    assert "[also multi_label, regression]" in help_text(["--help=all"])
