import pytest

from backbone.common.errors import InputError
from tasks.audit.coordinates import Place
from tasks.audit.exposure import BUNDLED, exposure, seen_chromosomes
from tasks.audit.findings import audit
from tasks.audit.wording import lines
from tasks.task import Example
from tests.tasks.rows import Given, dna, labelled, splits_of, task_of


def test_the_bundled_checkpoint_held_out_two_chromosomes():
    seen = seen_chromosomes(BUNDLED)
    assert {"2", "10", "22", "M"} <= seen and not {"9", "17", "3"} & seen


def test_rows_are_seen_unseen_or_of_unknown_place(tmp_path):
    regions = tmp_path / "pretraining.bed"
    regions.write_text("chr1\t0\t10\ttrain\n2\t0\t10\tvalid\n")
    places = {"A": Place("1", 500, 600), "C": Place("2", 1, 2), "G": Place("X", 1, 2)}
    found = exposure([Example(s, 0) for s in "ACGT"], places, regions)
    assert found.seen.tolist() == [True, False, False, False]
    assert found.unseen.tolist() == [False, True, True, False]


def test_another_word_in_the_fourth_column_is_an_error(tmp_path):
    (tmp_path / "x.bed").write_text("chr1\t0\t10\tseen\n")
    with pytest.raises(InputError, match="train or valid"):
        seen_chromosomes(tmp_path / "x.bed")


def test_an_audit_tells_seen_from_unseen_rows_and_finds_those_in_the_corpus(tmp_path):
    rows = dna(100, 80)
    (tmp_path / "corpus.fa").write_text(f">x\n{'ACGT' * 30}{rows[70]}{'GATTACA' * 20}\n")
    table = "".join(f"{s}\tchr{1 + i % 3}:{i}00-{i}80\n" for i, s in enumerate(rows))
    (tmp_path / "t.tsv").write_text(f"sequence\tid\n{table}")
    (tmp_path / "x.bed").write_text("chr1\t0\t10\ttrain\n")
    task = task_of(source=Given(files=[tmp_path / "t.tsv"]))
    splits = splits_of(labelled(rows[:60]), labelled(rows[60:66]), labelled(rows[66:]))
    found = audit(task, splits, regions=tmp_path / "x.bed", corpus=[str(tmp_path / "corpus.fa")])
    seen = sum(i % 3 == 0 for i in range(66, 100))
    assert (found.pretraining.seen, found.pretraining.unseen) == (seen, 34 - seen)
    assert found.pretraining.inside == 1
    asked = {line.question: line.answer for line in lines(found)}
    assert asked["inside the pretraining corpus"] == "1 of 34 (2.9 %)"
    assert "accuracy" in asked["chromosomes unseen in pretraining"]
