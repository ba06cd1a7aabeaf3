"""The real files, where they are: each loads, with the rows and classes that its list states."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.registry import build_task, default_options
from tasks.sources.published import Layout, Part, PublishedSource
from tasks.task import Task, truth


def published() -> dict[str, Task]:
    """Every task that comes as tables; a family that needs options is none."""
    found = {}
    for name in TASKS.names():
        try:
            task = build_task(default_options(name))
        except InputError:
            continue
        if isinstance(task.source, PublishedSource):
            found[name] = task
    return found


PUBLISHED = published()
ABSENT = {"deepsea", "coding_vs_intergenic", "mouse_enhancer"}
"""Sets of which the data folder has no file, beside the first version of nt_; none skips else."""
TOO_FEW = ("nt_promoter_tata",)
"""Two rows of a class cannot be divided into three splits."""


def listed(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "MANIFEST.tsv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file, delimiter="\t")}


def labels_in(folder: Path, part: Part) -> list[str]:
    """The labels of a part's rows, as the file has them."""
    with gzip.open(folder / part.file, "rt") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row["label"] for row in rows if part.only is None or row[part.only[0]] == part.only[1]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_files_load_as_they_are_listed(shared_data, name):
    task = PUBLISHED[name]
    complete = [
        layout
        for layout in task.source.layouts
        if all((shared_data / file).is_file() for file in layout.files())
    ]
    if not complete:
        assert name in ABSENT or name.startswith("nt_original_"), "its files have other names"
        pytest.skip(f"no complete set of files for {name} in the data folder")
    for layout in complete:
        loads(shared_data, task, layout)


def loads(shared_data: Path, task: Task, layout: Layout) -> None:
    source = PublishedSource(None, (layout,))
    if task.name in TOO_FEW:
        with pytest.raises(
            InputError, match="class 'positive' has no rows in .*of this class in total"
        ):
            source.splits(task, 0, shared_data)
        return
    splits = source.splits(task, 0, shared_data)
    rows = [*splits.train, *splits.val, *splits.test]
    counts = listed(shared_data)
    labels = [label for part in layout.parts().values() for label in labels_in(shared_data, part)]
    assert len(rows) == len(labels)
    for part in layout.parts().values():
        if part.only is None:
            assert int(counts[f"data/{part.file}"]["rows"]) == len(labels_in(shared_data, part))
    if task.kind == "classes":
        number = {name: i for i, name in enumerate(task.labels)} | {
            str(i): i for i in range(len(task.labels))
        }
        assert Counter(truth(rows).tolist()) == Counter(number[label] for label in labels)
    if task.kind == "multi_label":
        assert truth(rows).sum() == sum(label.count("1") for label in labels)
    if task.kind == "regression":
        assert truth(rows).sum() == pytest.approx(sum(map(float, labels)))


def test_every_labelled_file_belongs_to_a_task_or_is_known_not_to(shared_data):
    used = {
        f"data/{part.file}"
        for task in PUBLISHED.values()
        for layout in task.source.layouts
        for part in layout.parts().values()
    }
    aside = ("genomes/", "hyenadna_reference/", "biotype/")
    other = {"data/chromatin_profiles/rice_chiphub.tags.txt"}
    left = {
        path for path in listed(shared_data)
        if path.startswith("data/") and path not in used | other
        and not path.removeprefix("data/").startswith(aside)
    }  # fmt: skip
    # Of this set only the train part of a region is there, and the official test split is better.
    assert left <= {"data/genomic_benchmarks/subset/human_enhancers_cohn.train_subset.tsv.gz"}


def test_the_labels_of_rice_are_those_of_its_list(shared_data):
    names = (shared_data / "chromatin_profiles" / "rice_chiphub.tags.txt").read_text().split()
    assert PUBLISHED["chromatin_rice"].labels == tuple(names)
