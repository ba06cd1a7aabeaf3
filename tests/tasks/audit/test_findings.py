"""Each finding of an audit by rows made for it, and the verdict in words."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from backbone.sequence.dna import reverse_complement
from tasks.audit import command as check
from tasks.audit.findings import audit, find_conflicts
from tasks.audit.shortcuts import KMERS, Shortcut
from tasks.audit.wording import lines, verdict
from tasks.metrics.bootstrap import Estimate
from tasks.registry import TASKS
from tasks.task import Example
from tests.tasks.rows import Given, dna, labelled, splits_of, task_of

RICH, POOR = (0.2, 0.3, 0.3, 0.2), (0.3, 0.2, 0.2, 0.3)
ROWS = dna(400, 80)


def clean(n=400):
    return splits_of(labelled(ROWS[:200]), labelled(ROWS[200:240]), labelled(ROWS[240:n]))


def by_class(zero, one):
    return tuple(
        Example(s, label) for pair in zip(zero, one, strict=True) for label, s in enumerate(pair)
    )


def findings(found):
    return {(line.finding, line.question) for line in lines(found) if line.finding}


def test_random_rows_have_neither_leak_nor_shortcut():
    found = audit(task_of(), clean())
    assert findings(found) == set()
    assert verdict(found)[0].startswith("No leak")
    assert verdict(found)[1].startswith("No shortcut")


def test_copies_on_either_strand_and_near_duplicates_are_counted_by_class():
    test = ROWS[240:300]
    test[0], test[2], test[1] = ROWS[0], ROWS[2], reverse_complement(ROWS[7])
    for i in (4, 6, 8):
        test[i] = ROWS[i][:40] + ("A" if ROWS[i][40] != "A" else "C") + ROWS[i][41:]
    splits = splits_of(labelled(ROWS[:200]), labelled(ROWS[200:240]), labelled(test))
    found = audit(task_of(), splits)
    assert found.relations["test"] == {"rows": 60, "same": 2, "reverse_complement": 1, "near": 3}
    assert found.test_by_class["yes"] == {"rows": 30, "same": 0, "reverse_complement": 1, "near": 0}
    assert found.clean == {"no": (5, 25), "yes": (1, 29)}
    assert findings(found) == {
        ("leak", "the same sequence"),
        ("leak", "reverse complement"),
        ("leak", "near-duplicate"),
        ("few", "split=clean"),
    }
    said = verdict(found)
    assert said[0].startswith("LEAK. the same sequence, test rows in train or validation: 2 of 60")
    assert "split=clean (54 test rows)" in said[0]
    assert "no 25, yes 29 rows left" in said[1]


def test_label_conflicts_are_sequences_with_several_labels_on_either_strand():
    train = [Example(ROWS[0], 0), Example(ROWS[0], 1), Example(ROWS[1], 0), Example(ROWS[2], 1)]
    test = [Example(reverse_complement(ROWS[1]), 1), Example(ROWS[2], 1), Example(ROWS[3], 0)]
    found = find_conflicts(splits_of(train, labelled(ROWS[5:7]), test))
    assert (found.sequences, found.rows, found.across) == (2, 4, 1)


def test_length_alone_is_named():
    long, short = dna(150, 82), dna(150, 80, seed=1)
    rows = by_class(long, short)
    found = audit(task_of(), splits_of(rows[:200], rows[200:220], rows[220:]))
    (line,) = [line for line in lines(found) if line.question == "length alone"]
    assert line.finding == "shortcut" and line.answer.startswith("accuracy 1.000 [0.954, 1.000]")
    assert any("SHORTCUT. length alone" in sentence for sentence in verdict(found))


def test_gc_content_alone_is_named_and_composition_is_what_a_model_must_beat():
    rows = by_class(dna(300, 80, 2, POOR), dna(300, 80, 3, RICH))
    found = audit(task_of(), splits_of(rows[:400], rows[400:420], rows[420:]))
    assert findings(found) == {("shortcut", "GC content alone")}
    # GC content decides the class here, and so it is the best of the baselines.
    assert verdict(found)[-1].startswith("Strongest baseline: GC content, accuracy 0.")
    scores = {"majority": 0.5, "dinucleotides": 0.8, KMERS: 0.7}
    made = tuple(Shortcut(n, Estimate(v, v - 0.1, v + 0.1), 0.5, 60) for n, v in scores.items())
    assert verdict(replace(found, shortcuts=made))[-1] == (
        "Strongest baseline: counts of dinucleotides, accuracy 0.800 [0.700, 0.900]."
    )


def test_n_and_lower_case_by_class_are_named(tmp_path):
    sequences = dna(200, 80, seed=4)
    rows = [(s[:-10] + "N" * 10 if i % 2 and i % 3 else s, i % 2) for i, s in enumerate(sequences)]
    written = [(s[:30].lower() + s[30:] if label == 0 else s, label) for s, label in rows]
    file = tmp_path / "t.csv"
    file.write_text("sequence,label\n" + "".join(f"{s},{label}\n" for s, label in written))
    examples = [Example(s, label) for s, label in rows]
    task = task_of(source=Given(files=[file]))
    splits = splits_of(examples[:120], examples[120:130], examples[130:], task)
    found = audit(task, splits, tmp_path)
    assert {q for f, q in findings(found) if f == "shortcut"} == {"N alone", "lower case alone"}
    assert found.lower_case == {"no": pytest.approx(30 / 80), "yes": 0}
    assert found.unknown["no"] == 0 and 0.05 < found.unknown["yes"] < 0.1


def test_overlapping_intervals_are_found_where_sequences_differ(tmp_path):
    file = tmp_path / "t.tsv"
    places = [f"chr1:{1000 * i}-{1000 * i + 80}" for i in range(400)]
    places[245], places[246] = "chr1:1040-1120", "chr1:2079-2159"
    lines_ = [f"{s}\t{i % 2}\t{places[i]}" for i, s in enumerate(ROWS)]
    file.write_text("sequence\tlabel\tid\n" + "\n".join(lines_))
    found = audit(task_of(source=Given(files=[file])), clean(), tmp_path)
    assert (found.overlaps.known, found.overlaps.any, found.overlaps.half) == (160, 2, 1)
    assert ("leak", "overlap of intervals") in findings(found)


def test_order_and_strand_change_nothing():
    rows = by_class(dna(60, 80, 2, POOR), dna(60, 90, 3, RICH))
    parts = [list(rows[:80]), list(rows[80:90]), [*rows[90:], *rows[:4]]]
    one = audit(task_of(), splits_of(*parts))
    random = np.random.default_rng(0)
    turned = [
        [
            Example(reverse_complement(part[i].sequence), part[i].label)
            for i in random.permutation(len(part))
        ]
        for part in parts
    ]
    other = audit(task_of(), splits_of(*turned))
    assert lines(other) == lines(one) and verdict(other) == verdict(one)


def test_tasks_of_other_kinds_are_audited():
    random = np.random.default_rng(0)
    numbers = [Example(s, float(s.count("G") + random.normal())) for s in ROWS]
    regression = task_of("regression", ("level",))
    found = audit(regression, splits_of(numbers[:300], numbers[300:320], numbers[320:], regression))
    (gc,) = [one for one in found.shortcuts if one.name == "GC content"]
    assert 0.1 < gc.score.value < 1 and gc.chance == 0
    labels = [Example(s, (int(s.count("C") > 20), i % 2)) for i, s in enumerate(ROWS)]
    several = task_of("multi_label")
    found = audit(several, splits_of(labels[:300], labels[300:320], labels[320:], several))
    (gc,) = [one for one in found.shortcuts if one.name == "GC content"]
    assert 0.55 < gc.score.value < 0.9 and gc.chance == 0.5
    assert found.clean == {"all": (0, 80)}


@pytest.fixture
def registered(monkeypatch):
    splits = clean()
    task = task_of(source=Given(splits.train, splits.val, (*splits.test[:-1], splits.train[1])))
    monkeypatch.setitem(TASKS._values, "made_up", task)
    monkeypatch.delenv("ICL_DATA", raising=False)


def test_check_prints_a_report_and_writes_json_table_and_clean_rows(registered, tmp_path, capsys):
    assert check.main(["made_up", f"out={tmp_path}/new"]) == 0
    out = capsys.readouterr().out
    assert "Audit of made_up" in out and "LEAK. the same sequence" in out
    found = json.loads((tmp_path / "new" / "audit_made_up.json").read_text())
    assert found["relations"]["test"]["same"] == 1 and found["verdict"][0].startswith("LEAK")
    table = list(csv.DictReader((tmp_path / "new" / "audit_made_up.csv").open()))
    assert table[0]["question"] == "verdict" and table[0]["task"] == "made_up"
    kept = (tmp_path / "new" / "clean_made_up.tsv").read_text().splitlines()
    assert kept[0] == "split\trow" and len(kept) == 1 + 200 + 40 + 159
    assert kept[-1] == "test\t158"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["made_upp"], "did you mean made_up?"),
        (["made_up", "dat=x"], "did you mean data?"),
        (["made_up", "split_seed=one"], "split_seed"),
        (["made_up", "task.length=3"], "length"),
        (["out=x"], "expected a task name, got 'out=x'"),
        (["made_up", "out=/proc/x"], "cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    registered, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    assert check.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert not list(tmp_path.iterdir())
