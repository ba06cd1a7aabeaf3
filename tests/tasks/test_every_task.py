"""Every registered task, from a tiny copy in the form in which it is published.

On the Hub: columns, label encoding and names of the splits as there, read through `datasets`. As
files: the tables of every layout. What a row means cannot be tested here; that it arrives where
it belongs, and with the label that it had, can.
"""

from collections import Counter
from pathlib import Path

import datasets
import pytest

from tasks.catalog import TASKS
from tasks.registry import build_task, default_options
from tasks.sources import hub
from tasks.sources.published import GeneratedSource, Layout, PublishedSource
from tasks.task import Splits, Task, truth

TESTED_ALONE = {
    "table": "own/test_own_tasks.py",
    "intervals": "own/test_own_tasks.py",
    "fasta": "own/test_fasta_task.py",
    "species": "sets/test_species.py",
    "biotype": "sets/test_biotype.py",
}
"""Families whose rows are made of more than tables, and where their tests are."""

BUILT = {
    name: build_task(default_options(name)) for name in TASKS.names() if name not in TESTED_ALONE
}
PUBLISHED = [name for name, task in BUILT.items() if isinstance(task.source, PublishedSource)]
ON_HUB = [name for name in PUBLISHED if BUILT[name].source.hub is not None]
FILES = [(n, i) for n in PUBLISHED for i in range(len(BUILT[n].source.layouts))]
PER_CLASS = 20


def label(task: Task, row: int):
    """A label as it is published: a class's number, zeros and ones, a number; classes in turn."""
    if task.kind == "classes":
        return row % len(task.labels)
    if task.kind == "multi_label":
        return "".join("1" if (row + i) % 3 == 0 else "0" for i in range(len(task.labels)))
    return round(row / 7, 4)


def part(task: Task, name: str) -> list[tuple[str, object]]:
    """Rows of one part, none like those of another: the part is spelt in their first letters."""
    first = {"train": "AAC", "dev": "ACC", "test": "CCC", "pool": "AGC", "other": "CGC"}[name]
    n = PER_CLASS * (len(task.labels) if task.kind == "classes" else 2)
    letters = ["".join("ACGT"[row >> 2 * bit & 3] for bit in range(6)) for row in range(n)]
    return [(first + text + "AATCG", label(task, row)) for row, text in enumerate(letters)]


def columns(task: Task, rows: list, sequence: str, text: str, only) -> dict[str, list]:
    """A table's columns, with rows of another task between those that are wanted."""
    table: dict[str, list] = {sequence: [s for s, _ in rows], text: [y for _, y in rows]}
    if only is None:
        return table
    column, value = only
    others = [s for s, _ in part(task, "other")]
    table[column] = [value] * len(rows) + ["another_task"] * len(others)
    table["name"] = [f"chr1:{i}-{i + 14}|0" for i in range(len(table[column]))]
    table[sequence] += others
    table[text] += [0] * len(others)
    return table


def check(task: Task, splits: Splits, expected: dict[str, list[tuple[str, object]]]) -> None:
    """Every row arrives once, with its label, in the split of its part."""
    found = {
        (example.sequence, _as_published(task, example.label)): name
        for name in ("train", "val", "test")
        for example in getattr(splits, name)
    }
    assert len(found) == sum(len(getattr(splits, name)) for name in ("train", "val", "test"))
    assert found.keys() == {(s, str(y)) for rows in expected.values() for s, y in rows}
    allowed = {
        "pool": {"train", "val", "test"},
        "train": {"train"} if "dev" in expected else {"train", "val"},
        "dev": {"val"} if "train" in expected else {"train", "val"},
        "test": {"test"},
    }
    for name, rows in expected.items():
        assert {found[s, str(y)] for s, y in rows} == allowed[name]
    if task.kind == "classes":
        for rows in (splits.train, splits.test):
            counts = Counter(truth(rows).tolist())
            assert set(counts) == set(range(len(task.labels)))
            assert max(counts.values()) - min(counts.values()) <= 1


def _as_published(task: Task, given) -> str:
    return "".join(map(str, given)) if task.kind == "multi_label" else str(given)


def test_every_task_is_tested_somewhere():
    generated = [name for name, task in BUILT.items() if isinstance(task.source, GeneratedSource)]
    alone = {name: file for name, file in TESTED_ALONE.items() if name in TASKS}
    assert {*PUBLISHED, *generated, *alone} == set(TASKS.names())
    assert all((Path(__file__).parent / file).exists() for file in alone.values())
    assert len([name for name in PUBLISHED if name.startswith("nt_original_")]) == 18
    assert len([name for name in PUBLISHED if name.startswith("nt_")]) == 36


@pytest.mark.parametrize(("name", "number"), FILES)
def test_tables_load_with_their_labels_in_the_splits_of_their_files(name, number, tmp_path):
    task = BUILT[name]
    layout: Layout = task.source.layouts[number]
    expected = {}
    for kind, file in layout.parts().items():
        expected[kind] = part(task, kind)
        table = columns(task, expected[kind], "sequence", "label", file.only)
        lines = [
            "\t".join(table),
            *("\t".join(map(str, row)) for row in zip(*table.values(), strict=True)),
        ]
        path = tmp_path / file.file.removesuffix(".gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        if file.file.endswith(".gz"):
            import gzip

            (tmp_path / file.file).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            path.unlink()
    splits = task.splits(0, tmp_path)
    check(task, splits, expected)
    assert splits.sha256 == task.splits(0, tmp_path).sha256
    divided = len(expected) < 3 or "pool" in expected
    assert (task.splits(1, tmp_path).sha256 != splits.sha256) == divided


@pytest.mark.parametrize("name", ON_HUB)
def test_the_form_of_the_hub_loads_through_datasets(name, tmp_path, monkeypatch):
    task = BUILT[name]
    place = task.source.hub
    parts = {"train": "train", "test": "test"}
    if name.startswith("gue_"):
        parts = {"train": "train", "dev": "dev", "test": "test"}
    expected = {part_name: part(task, part_name) for part_name in parts}
    saved = datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                columns(task, expected[part_name], place.sequence, place.label, place.only)
            )
            for part_name, split in parts.items()
        }
    )
    saved.save_to_disk(tmp_path / "set")
    asked = []

    def load(repository, config):
        asked.append((repository, config))
        return datasets.load_from_disk(tmp_path / "set")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    check(task, task.splits(0), expected)
    assert asked == [(place.repository, place.config)]


@pytest.mark.parametrize(
    "name", [n for n, task in BUILT.items() if isinstance(task.source, GeneratedSource)]
)
def test_generated_rows_are_the_same_for_the_same_seed(name):
    task = BUILT[name]
    splits = task.splits(0)
    assert splits.sha256 == task.splits(0).sha256 != task.splits(1).sha256
    parts = [{e.sequence for e in rows} for rows in (splits.train, splits.val, splits.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_metrics_are_those_of_the_papers():
    for name in PUBLISHED:
        task = BUILT[name]
        if name.startswith("nt_"):
            positional = ("promoter", "splice")
            f1 = any(word in name for word in positional)
            assert task.metric == ("macro_f1" if f1 else "mcc")
        assert task.citation and task.licence and task.description


def test_known_flaws_stand_on_the_cards_with_how_to_recompute_them():
    for name, figure in (
        ("promoter_nontata", "99 %"),
        ("enhancer_ensembl", "75.5 %"),
        ("regulatory_ensembl", "91.5 %"),
    ):
        (flaw,) = [text for text in BUILT[name].flaws if figure in text]
        assert "Recompute from the interval lists" in flaw


def test_one_label_of_several_is_a_task_of_two_classes(tmp_path):
    from tasks.sources.one_label import LabelConfig

    whole = BUILT["chromatin_rice"]
    for kind, file in whole.source.layouts[0].parts().items():
        rows = [f"{s}\t{y}" for s, y in part(whole, kind)]
        path = tmp_path / file.file
        path.parent.mkdir(exist_ok=True)
        path.with_suffix("").write_text("\n".join(["sequence\tlabel", *rows]) + "\n")
        import gzip

        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes(), mtime=0))
    task = build_task(LabelConfig("chromatin_rice", "osa_ARF"))
    assert (task.name, task.kind, task.labels) == (
        "chromatin_rice_osa_ARF", "classes", ("absent", "present"),
    )  # fmt: skip
    found = {e.sequence: e.label for e in task.splits(0, tmp_path).test}
    assert found == {s: int(y[2]) for s, y in part(whole, "test")}
