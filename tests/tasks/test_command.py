"""python -m tasks: list, show and check."""

import sys
from types import SimpleNamespace

import pytest

from tasks import __main__ as command
from tasks.catalog import TASKS


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = command.main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_shows_every_task_with_a_line(capsys):
    code, out, _ = run(capsys, "list")
    lines = out.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == list(TASKS.names())
    (line,) = [line for line in lines if line.startswith("nt_splice_sites_all ")]
    assert line.split()[-3:] == ["3", "classes", "macro_f1"]
    assert "919 labels" in out and "regression" in out


def test_show_prints_a_card_with_rows_where_there_are_data(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("ICL_DATA", raising=False)
    rows = [f"{'ACGT'[i % 4] * 4}{'ACGT'[i // 4 % 4] * (1 + i % 2)}G\t{i % 2}" for i in range(40)]
    (tmp_path / "t.tsv").write_text("\n".join(["sequence\tlabel", *rows]) + "\n")
    code, out, _ = run(capsys, "show", "promoter_nontata", f"data={tmp_path / 't.tsv'}")
    assert code == 0 and out.startswith("promoter_nontata\n")
    text = " ".join(out.split())
    for part in (
        "classes 2: negative, positive",
        "licence Apache-2.0",
        "Gresova et al. 2023",
        "flaw 99 % of the official test negatives",
        "Hub data set katarinagresova/Genomic_Benchmarks_human_nontata_promoters",
        "methods every method",
        "70/10/20 of the table t.tsv",
        "rows of 6 to 7",
        "GC 0.",
    ):
        assert part in text


def test_show_without_data_says_how_to_get_them(capsys, tmp_path):
    code, out, _ = run(capsys, "show", "chromatin_rice", f"data={tmp_path}")
    assert code == 0 and "not here: data folder" in out
    assert "HM (23 labels)" in out and "task.label=NAME" in " ".join(out.split())


def test_show_takes_the_options_of_a_family(capsys, tmp_path):
    code, out, _ = run(capsys, "show", "chromatin_rice", "task.label=osa_ARF", f"data={tmp_path}")
    assert code == 0 and out.startswith("chromatin_rice_osa_ARF\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "unknown command 'lst'; did you mean list?"),
        (["list", "all"], "list takes no options"),
        (["show"], "show needs the name of a task"),
        (["show", "enhancer_chon"], "did you mean enhancer_cohn?"),
        (["show", "enhancer_cohn", "dta=x"], "did you mean data?"),
        (["show", "chromatin_rice", "task.label=osa_TALF"], "among its 58; did you mean osa_TALE?"),
        (["show", "table"], "give task.train=FILE"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert message in err


def test_check_is_the_audit(monkeypatch):
    given = []

    def main(words):
        given.append(words)
        return 2

    monkeypatch.setitem(sys.modules, "tasks.audit.command", SimpleNamespace(main=main))
    assert command.main(["check", "enhancer_cohn", "data=x"]) == 2
    assert given == [["enhancer_cohn", "data=x"]]


MOTIF = """
from tasks.own.function import task


@task("lab_rows", labels=("no", "yes"))
def rows():
    for row in range(80):
        yield "".join("AC"[row >> bit & 1] for bit in range(8)) * 5, ("no", "yes")[row % 2]
"""


@pytest.mark.parametrize("name", ["show", "check"])
def test_a_task_of_a_plugin_is_shown_and_checked(capsys, tmp_path, monkeypatch, name):
    monkeypatch.setattr(TASKS, "_values", dict(TASKS._values))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, f"lab_{name}", raising=False)
    (tmp_path / f"lab_{name}.py").write_text(MOTIF)
    code, out, err = run(capsys, name, "lab_rows", f"plugins=[lab_{name}]")
    assert (code, err) == (0, "") and "lab_rows" in out
