from pathlib import Path

import datasets
import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.sources import hub
from tasks.sources.hub import HubDataset
from tasks.sources.published import PublishedSource
from tasks.task import Task

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rows(n: int, start: int = 0) -> dict[str, list]:
    letters = ["".join("AC"[i >> bit & 1] for bit in range(8)) for i in range(start, start + n)]
    return {"seq": ["AAAAAA" + text for text in letters], "label": [i % 2 for i in range(n)]}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A data set as it lies on the Hub: Parquet files by split."""
    folder = tmp_path / "set"
    for name, n, start in (("train", 100, 0), ("test", 20, 100)):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table = datasets.Dataset.from_dict(rows(n, start))
        table.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def test_parquet_is_loaded_by_datasets_and_validation_carved_from_train(
    saved, tmp_path, monkeypatch
):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    task = Task("mine", ("no", "yes"), PublishedSource(HubDataset(str(saved)), ()))
    splits = task.splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [90, 10, 20]
    assert [e.sequence for e in splits.test] == rows(20, 100)["seq"]
    assert "90/10 of the train split of" in splits.origin
    assert splits.revision is None  # a folder has no commit


class Table:
    """What is used of a `datasets.Dataset`."""

    def __init__(self, columns: dict[str, list], folder: str) -> None:
        self.columns, self.column_names = columns, list(columns)
        self.cache_files = [{"filename": f"/cache/set/default/0.0.0/{folder}/set-train.arrow"}]

    def __getitem__(self, name: str) -> list:
        return self.columns[name]


def fake_hub(monkeypatch, **splits: Table) -> list:
    asked: list = []

    def load_dataset(repository, config):
        asked.append((repository, config, datasets.config.HF_HUB_OFFLINE))
        return splits

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_the_commit_is_recorded_and_the_cache_used_without_a_network(monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    asked = fake_hub(monkeypatch, train=Table(rows(100), COMMIT), test=Table(rows(20, 100), COMMIT))
    splits = TASKS.get("enhancer_cohn").splits(0)
    assert splits.revision == COMMIT
    assert asked == [("katarinagresova/Genomic_Benchmarks_human_enhancers_cohn", None, True)]
    assert datasets.config.HF_HUB_OFFLINE is False


def test_a_real_cache_is_read_offline_with_its_commit(saved, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    # The folder that `datasets` makes when it loads owner/set at that commit from the Hub.
    target = cache / "owner___set" / "default" / "0.0.0" / COMMIT
    built = datasets.load_dataset_builder(str(saved))
    built.download_and_prepare()
    target.parent.mkdir(parents=True)
    Path(built.cache_dir).rename(target)
    task = Task("mine", ("no", "yes"), PublishedSource(HubDataset("owner/set"), ()))
    splits = task.splits(0)
    assert len(splits.test) == 20
    assert splits.revision == COMMIT


def test_without_network_and_cache_three_ways_are_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    with pytest.raises(InputError) as error:
        TASKS.get("mouse_enhancer").splits(0)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        "katarinagresova/Genomic_Benchmarks_dummy_mouse_enhancers_ensembl",
        "connect to the network once",
        "data=DIR", "ICL_DATA",
        "genomic_benchmarks/dummy_mouse_enhancers_ensembl.test.tsv.gz",
        "a table of your own",
    ):  # fmt: skip
        assert part in text


def test_other_columns_and_splits_are_refused(monkeypatch):
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    task = TASKS.get("enhancer_cohn")
    fake_hub(monkeypatch, train=Table({"text": ["A"], "label": [0]}, ""))
    with pytest.raises(InputError, match="train: no column seq"):
        task.splits(0)
    fake_hub(monkeypatch, train=Table(rows(100), ""))
    with pytest.raises(InputError, match="has the splits train; test and train or validation"):
        task.splits(0)
