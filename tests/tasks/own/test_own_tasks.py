"""Tasks of one's own: tables, intervals on a genome, a function, a package."""

import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from tasks.own import packages
from tasks.own.function import task as register
from tasks.own.intervals import IntervalsConfig
from tasks.own.table import TableConfig
from tasks.registry import TASKS, TaskConfig, build_task
from tasks.task import Task

WORDS = ["".join("ACGT"[i >> 2 * bit & 3] for bit in range(3)) for i in range(64)]


@pytest.fixture(autouse=True)
def scratch(monkeypatch):
    monkeypatch.setattr(TASKS, "_values", dict(TASKS._values))
    monkeypatch.setattr(TASKS, "_aliases", dict(TASKS._aliases))


def write(path: Path, rows, header="seq,y") -> str:
    path.write_text("\n".join([header, *(f"{s},{y}" for s, y in rows)]) + "\n")
    return str(path)


def table(**options) -> Task:
    return build_task(TableConfig("table", sequence="seq", label="y", **options))


def test_two_tables_are_train_and_test_and_classes_are_the_sorted_values_of_train(tmp_path):
    train = write(tmp_path / "mine.csv", [(w, "bca"[i % 3]) for i, w in enumerate(WORDS[:60])])
    test = write(tmp_path / "other.csv", [(w + "A", "abc"[i % 3]) for i, w in enumerate(WORDS)])
    task = table(train=train, test=test)
    assert (task.name, task.labels, task.kind) == ("mine", ("a", "b", "c"), "classes")
    splits = task.splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [54, 6, 64]
    assert [(e.sequence, e.label) for e in splits.test[:3]] == [
        ("AAAA", 0),
        ("CAAA", 1),
        ("GAAA", 2),
    ]
    assert "90/10 of the table mine.csv" in splits.origin
    assert splits.origin.endswith("test is the table other.csv")
    again = write(tmp_path / "elsewhere.csv", [(w, "bca"[i % 3]) for i, w in enumerate(WORDS[:60])])
    assert table(train=again, test=test).splits(0).sha256 == splits.sha256


def test_a_single_table_is_divided_and_numbers_are_classes_in_their_order(tmp_path):
    rows = [(w, (10, 2)[i % 2]) for i, w in enumerate(WORDS)]
    task = table(train=write(tmp_path / "pool.csv", rows))
    assert task.labels == ("2", "10")
    splits = task.splits(0)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 64
    assert splits.origin.startswith("70/10/20 of the table pool.csv")
    found = {e.sequence: task.labels[e.label] for e in splits.train}
    assert found == {s: str(y) for s, y in rows if s in found}


def test_a_number_as_class_name_is_no_index(tmp_path):
    train = write(tmp_path / "a.csv", [(w, 1 + i % 2) for i, w in enumerate(WORDS)])
    test = write(tmp_path / "b.csv", [("ACGT", 0)])
    with pytest.raises(InputError, match="b.csv: line 2 has the label '0', which no row"):
        table(train=train, test=test).splits(0)


def test_a_dev_table_is_validation(tmp_path):
    files = {
        name: write(tmp_path / f"{name}.csv", [(w + end, i % 2) for i, w in enumerate(WORDS)])
        for name, end in (("train", "A"), ("dev", "C"), ("test", "G"))
    }
    splits = table(**files).splits(0)
    assert {e.sequence[-1] for e in splits.val} == {"C"} and len(splits.train) == 64


def test_tables_of_other_kinds(tmp_path):
    numbers = write(tmp_path / "n.csv", [(w, i / 4) for i, w in enumerate(WORDS)])
    task = table(train=numbers, kind="regression")
    assert (task.labels, task.metric) == (("y",), "pearson")
    assert {e.label for e in task.splits(0).test} < {i / 4 for i in range(64)}
    several = write(tmp_path / "s.csv", [(w, f"{i % 4:02b}1") for i, w in enumerate(WORDS)])
    task = table(train=several, kind="multi_label")
    assert task.labels == ("y_1", "y_2", "y_3") and task.metric == "auroc"
    splits = task.splits(0)
    assert {e.label for e in splits.train} == {(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give task.train=FILE"),
        ({"train": "{none}"}, "none.csv: cannot be read"),
        ({"train": "{one}"}, "all rows have the label '1'; give two classes"),
        ({"train": "{numbers}"}, "64 different labels in 64 rows are not classes.*kind=regression"),
        ({"train": "{good}", "kind": "clases"}, "task.kind=clases: must be one of classes, multi"),
        ({"train": "{good}", "dev": "{good}"}, "validation rows need test rows too: task.test="),
        ({"train": "{good}", "test": "{foreign}"}, "foreign.csv: line 2 has the label '7'"),
        ({"train": "{twice}"}, "twice.csv: two columns are called y; rename or remove one"),
        ({"train": "{lone}"}, "class 'b' has no rows in .*only 1 row of this class in total"),
        ({"train": "{good}", "kind": "multi_label", "test": "{foreign2}"}, "'01', which is 2 la"),
        ({"train": "{words}", "kind": "regression"}, "line 2 has the label 'high', which is no"),
    ],
)  # fmt: skip
def test_what_makes_no_task_is_one_line(tmp_path, options, message):
    files = {
        "none": str(tmp_path / "none.csv"),
        "one": write(tmp_path / "one.csv", [(w, 1) for w in WORDS]),
        "numbers": write(tmp_path / "numbers.csv", [(w, i) for i, w in enumerate(WORDS)]),
        "good": write(tmp_path / "good.csv", [(w, i % 2) for i, w in enumerate(WORDS)]),
        "foreign": write(tmp_path / "foreign.csv", [("ACGT", 7)]),
        "foreign2": write(tmp_path / "foreign2.csv", [("ACGT", "01")]),
        "twice": write(tmp_path / "twice.csv", [(w, "0,1") for w in WORDS], "seq,y,y"),
        "lone": write(tmp_path / "lone.csv", [(w, "ab"[i == 5]) for i, w in enumerate(WORDS)]),
        "words": write(tmp_path / "words.csv", [(w, "high") for w in WORDS]),
    }
    given = {name: text.format(**files) for name, text in options.items()}
    with pytest.raises(InputError, match=message) as error:
        table(**given).splits(0)
    assert "\n" not in str(error.value)


CHROMOSOMES = {
    name: "".join(np.random.default_rng(i).choice(list("ACGT"), size=400))
    for i, name in enumerate(("chr1", "chr2", "chr3"))
}


@pytest.fixture
def genome(tmp_path) -> str:
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in CHROMOSOMES.items())
    (tmp_path / "g.fa").write_text(text)
    return str(tmp_path / "g.fa")


def intervals(genome: str, lines: list[str], path: Path, **options) -> Task:
    path.write_text("\n".join(lines) + "\n")
    return build_task(IntervalsConfig("intervals", genome=genome, bed=str(path), **options))


def bed(n: int = 20) -> list[str]:
    return [
        f"chr{c}\t{10 * i + c}\t{10 * i + 21}\t{'ny'[i % 2]}\t0\t{'+-.'[i % 3]}"
        for c in (1, 2, 3)
        for i in range(n)
    ]


def test_intervals_are_cut_on_their_strand_with_their_flanks(genome, tmp_path):
    task = intervals(genome, bed(), tmp_path / "mine.bed", flank=1, test_chromosomes=["chr2"])
    assert (task.name, task.labels) == ("mine", ("n", "y"))
    splits = task.splits(0)
    expected = []
    for i in range(20):
        forward = CHROMOSOMES["chr2"][10 * i + 1 : 10 * i + 22]
        expected.append((reverse_complement(forward) if i % 3 == 1 else forward, i % 2))
    assert [(e.sequence, e.label) for e in splits.test] == expected
    assert len(splits.train) + len(splits.val) == 40
    assert "on chr2" in splits.origin and "but those on chr2" in splits.origin


def test_chromosomes_can_be_validation(genome, tmp_path):
    chosen = dict(test_chromosomes=["chr2"], val_chromosomes=["chr3"])
    splits = intervals(genome, bed(), tmp_path / "m.bed", **chosen).splits(0)
    assert [len(p) for p in (splits.train, splits.val, splits.test)] == [20, 20, 20]
    assert {e.sequence for e in splits.val} <= {
        s for text in (CHROMOSOMES["chr3"], reverse_complement(CHROMOSOMES["chr3"]))
        for s in (text[i : i + 18] for i in range(len(text)))
    }  # fmt: skip


def test_any_column_can_hold_the_labels(genome, tmp_path):
    lines = [f"chr1 {3 * i} {3 * i + 9} x 0 + {i / 2}" for i in range(60)]
    task = intervals(genome, lines, tmp_path / "n.bed", label=7, kind="regression")
    assert {e.label for e in task.splits(0).train} < {i / 2 for i in range(60)}


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("chr1\t20\t10\ty", {}, "line 61: needs 0 <= start < end, has 20 and 10"),
        ("chr1\t1\t10\ty\t0\t?", {}, r"line 61: strand must be \+, - or ., is '\?'"),
        ("chr1\t390\t410\ty", {}, "line 61: interval chr1:390-410 is not inside its record"),
        ("1\t1\t10\ty", {}, "line 61: .* no record '1' but have 'chr1': two naming"),
        ("chr1\t0\t10\ty", {"flank": 5}, "line 1: interval chr1:-4-26 is not inside.*task.flank=5"),
        ("chr1\t1\t10\tw", {}, "class 'w' has no rows in .*only 1 row of this class in total"),
        ("chr1\t1\t10", {}, "line 61: has 3 columns, and task.label=4 names the one with the lab"),
        ("chr1\t1\t10\ty", {"test_chromosomes": ["chr9"]}, "no interval on chr9; it has chr1"),
        ("chr1\t1\t10\ty", {"test_chromosomes": ["3"]}, "no interval on 3; it has chr3$"),
        ("chr1\t1\t10\t\t0\t+", {}, "line 61: has no label in column 4, the first of 1 such"),
        ("chr1\t1_0\t20\ty", {}, "line 61: start and end must be whole numbers, not '1_0'"),
        ("chr1\t1\t10\ty", {"val_chromosomes": ["chr1"]}, "give task.test_chromosomes too"),
        ("chr1\t1\t10\ty", {"flank": -1}, "task.flank=-1: must be 0 or more"),
        ("chr1\t1\t10\ty", {"label": 0}, "task.label=0"),
        (
            "chr1\t1\t10\ty",
            {"test_chromosomes": ["chr1", "chr2", "chr3"]},
            "no interval is left to learn from",
        ),
    ],
)  # fmt: skip
def test_wrong_intervals_are_one_line(genome, tmp_path, line, options, message):
    with pytest.raises(InputError, match=message) as error:
        intervals(genome, [*bed(), line], tmp_path / "m.bed", **options).splits(0)
    assert "\n" not in str(error.value)


def test_a_function_of_five_lines_is_a_task():
    @register("rich_in_gc", labels=("poor", "rich"), licence="mine")
    def rows():
        """More than half of the letters are G or C."""
        for word in WORDS:
            yield word, "rich" if sum(map(word.count, "GC")) > 1 else "poor"

    task = TASKS.get("rich_in_gc")
    assert (
        task.description == "More than half of the letters are G or C." and task.licence == "mine"
    )
    splits = build_task(TaskConfig("rich_in_gc")).splits(0)
    assert splits.origin.startswith("70/10/20 of the rows of rows")
    assert all(e.label == (sum(map(e.sequence.count, "GC")) > 1) for e in splits.test)
    with pytest.raises(TypeError, match="licences"):
        register("other", labels=("a", "b"), licences="x")(rows)


def installed(monkeypatch, tmp_path, **modules: str) -> None:
    """Fake packages with one entry point each, named after its module."""
    points = []
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
        attribute = ":TASK" if "TASK =" in text else ""
        points.append(metadata.EntryPoint(name, f"{name}{attribute}", packages.GROUP))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: points if group == packages.GROUP else []
    )


REGISTERS = """
from tasks.own.function import task

@task("of_a_module", labels=("a", "b"))
def rows():
    yield from ((word, "ab"[i % 2]) for i, word in enumerate(["ACG", "ACT"] * 9))
"""
OBJECT = """
from tasks.task import Task
TASK = Task("of_an_object", ("a", "b"), None)
"""


def test_packages_add_tasks_through_their_entry_point(monkeypatch, tmp_path):
    installed(monkeypatch, tmp_path, fake_icl_module=REGISTERS, fake_icl_object=OBJECT)
    packages.load_packages()
    assert TASKS.get("of_a_module").labels == ("a", "b")
    assert TASKS.get("of_an_object").name == "of_an_object"


def test_a_broken_package_is_named_and_the_others_are_used(monkeypatch, tmp_path):
    taken = 'from tasks.task import Task\nTASK = Task("table", ("a",), None)\n'
    installed(
        monkeypatch, tmp_path,
        fake_icl_broken="import there_is_no_such_module\n", fake_icl_taken=taken,
        fake_icl_object2=OBJECT,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        packages.load_packages()
    said = [str(one.message) for one in caught if "left out" in str(one.message)]
    assert "fake_icl_broken" in said[0] and "there_is_no_such_module" in said[0]
    assert "fake_icl_taken" in said[1] and "'table' is registered twice" in said[1]
    assert "of_an_object" in TASKS
