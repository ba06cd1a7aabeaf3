"""The examples of the guides work as they stand there."""

import gzip
import re
from pathlib import Path

import pytest
import torch

from icl import run
from icl.config.options import RunConfig, TaskConfig, resolve
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS

DOCS = Path(__file__).resolve().parents[1] / "docs"
TESTED = re.compile(r"<!-- tested: (\w+) -->\n+```python\n(.*?)```", re.DOTALL)
BLOCKS = dict(sum((TESTED.findall(page.read_text()) for page in DOCS.rglob("*.md")), []))


@pytest.fixture
def scratch(monkeypatch):
    """Registries whose additions are forgotten, and a process left as it was."""
    for registry in (METHODS, TASKS):
        monkeypatch.setattr(registry, "_values", dict(registry._values))
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def execute(name: str) -> str:
    exec(compile(BLOCKS[name], f"guide: {name}", "exec"), {"__name__": f"guide_{name}"})
    return BLOCKS[name]


def table(rows: int) -> bytes:
    """Rows of which one class has more purines, none the same as another."""
    lines = ["sequence\tlabel"]
    for row in range(rows):
        text = "".join("AC"[row >> bit & 1] for bit in range(8))
        active = row % 2
        lines.append(
            f"{text}{'AGGA' * 8 if active else 'CTTC' * 8}\t{('inactive', 'active')[active]}"
        )
    return gzip.compress("\n".join(lines).encode())


def run_once(task: str, method: str, folder: Path, data: Path | None = None):
    config = RunConfig(
        task=TaskConfig(name=task),
        method=METHODS.get(method).config(name=method),
        out=str(folder),
        data=None if data is None else str(data),
    )
    (finished,) = run.run(resolve(config))
    return finished.report


def test_every_marked_block_is_run_here():
    assert set(BLOCKS) == {"method", "package", "task"}


def test_every_page_is_in_the_navigation_of_the_site():
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    named = set(re.findall(r"[\w/-]+\.md$", (DOCS.parent / "mkdocs.yml").read_text(), re.MULTILINE))
    assert pages - named == set(), "name it below nav: in mkdocs.yml"


def test_a_method_is_one_decorated_class(scratch, tmp_path):
    assert execute("method").count("@method(") == 1
    report = run_once("synthetic_easy", "purines_only", tmp_path)
    assert (
        report.setup.method == "purines_only"
        and 0.4 < report.outcome.metrics["accuracy"].value < 0.7
    )


def test_a_task_is_at_most_five_lines(scratch, tmp_path):
    lines = [line for line in execute("task").splitlines() if line and "import" not in line]
    assert len(lines) <= 5
    (tmp_path / "my_set.tsv.gz").write_bytes(table(100))
    splits = TASKS.get("my_set").splits(0, tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [70, 10, 20]
    assert splits.origin.startswith("70/10/20 of my own table (my_set.tsv.gz)")


def test_a_task_of_a_package_is_a_function(scratch, tmp_path):
    execute("package")
    report = run_once("my_motif", "kmer_logreg", tmp_path)
    rows = report.setup.n_train + report.setup.n_val + report.setup.n_test
    assert 590 <= rows <= 600 and report.outcome.metrics["accuracy"].value > 0.6


def test_the_method_learns_the_task(scratch, tmp_path):
    execute("method"), execute("task")
    (tmp_path / "my_set.tsv.gz").write_bytes(table(100))
    report = run_once("my_set", "purines_only", tmp_path / "runs", tmp_path)
    assert report.outcome.metrics["accuracy"].value == 1 and report.setup.labels == (
        "inactive",
        "active",
    )
