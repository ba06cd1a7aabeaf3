"""The tasks of GUE: which file is which split, offline and on the real files."""

import gzip
from pathlib import Path

import pytest

from tasks.catalog import TASKS
from tasks.sources import hub
from tasks.sources.published import PublishedSource

NAMES = [name for name in TASKS.names() if name.startswith("gue_")]


def write(data: Path, split: str, start: int, rows: int) -> None:
    """A table of different sequences, the two classes in turn."""
    texts = ("".join("AC"[n >> bit & 1] for bit in range(8)) for n in range(start, start + rows))
    lines = [f"AAAAAAAAAA{text}\t{n % 2}\n" for n, text in enumerate(texts)]
    (data / "gue").mkdir(parents=True, exist_ok=True)
    file = data / "gue" / f"prom_prom_core_tata.{split}.tsv.gz"
    file.write_bytes(gzip.compress(("sequence\tlabel\n" + "".join(lines)).encode()))


def test_every_set_is_there_once_under_its_name_and_that_of_the_hub():
    promoters = {f"gue_prom_{a}_{b}" for a in ("core", "300") for b in ("all", "tata", "notata")}
    bound = {f"gue_{species}_{n}" for species in ("tf", "mouse") for n in range(5)}
    assert promoters | bound | {"gue_splice", "gue_emp_h3", "gue_emp_h4ac"} < set(NAMES)
    assert len(NAMES) == len(set(NAMES)) == 6 + 10 + 10 + 1
    assert TASKS.get("prom_core_tata") is TASKS.get("gue_prom_core_tata")
    assert TASKS.get("human_tf_3") is TASKS.get("gue_tf_3")
    assert TASKS.get("emp_H3K14ac") is TASKS.get("gue_emp_h3k14ac")
    assert {TASKS.get(name).metric for name in NAMES} == {"mcc"}
    assert len(TASKS.get("gue_splice").labels) == 3


def test_the_official_splits_are_the_splits(tmp_path):
    for split, start, rows in (("train", 0, 40), ("dev", 40, 12), ("test", 60, 20)):
        write(tmp_path, split, start, rows)
    splits = TASKS.get("gue_prom_core_tata").splits(0, tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [40, 12, 20]
    assert splits.sha256 == TASKS.get("gue_prom_core_tata").splits(5, tmp_path).sha256
    assert "validation the official dev split (prom_prom_core_tata.dev.tsv.gz)" in splits.origin


def test_without_a_train_file_dev_is_divided_and_the_origin_says_so(tmp_path):
    write(tmp_path, "dev", 0, 40)
    write(tmp_path, "test", 60, 20)
    splits = TASKS.get("gue_prom_core_tata").splits(0, tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [36, 4, 20]
    assert splits.origin.startswith(
        "no train file, so train and validation are 90/10 of the official dev split"
    )


def test_the_hub_is_asked_for_the_set_and_its_dev_split_is_validation(monkeypatch):
    import datasets

    class Table:
        column_names = ["sequence", "label"]
        cache_files: list = []

        def __init__(self, letters: str) -> None:
            self.columns = {"sequence": list(letters), "label": [0, 1]}

        def __getitem__(self, name: str) -> list:
            return self.columns[name]

    def load_dataset(repository, config):
        assert (repository, config) == ("leannmlindsey/GUE", "human_tf_2")
        return {"train": Table("AC"), "dev": Table("GT"), "test": Table("NA")}

    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    splits = TASKS.get("gue_tf_2").splits(0)
    found = [[e.sequence for e in part] for part in (splits.train, splits.val, splits.test)]
    assert found == [["A", "C"], ["G", "T"], ["N", "A"]]


def test_prom_core_tata_has_the_published_rows(shared_data):
    splits = TASKS.get("gue_prom_core_tata").splits(0, shared_data)
    parts = (splits.train, splits.val, splits.test)
    assert [len(part) for part in parts] == [4904, 613, 613]
    assert [sum(e.label for e in part) for part in parts] == [2449, 307, 309]
    assert {len(e.sequence) for part in parts for e in part} == {70}
    assert splits.ambiguous_letters == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_files_looked_for_are_those_of_the_benchmark(shared_data, name):
    source = TASKS.get(name).source
    assert isinstance(source, PublishedSource)
    assert all((shared_data / file).is_file() for file in source.layouts[-1].files())
