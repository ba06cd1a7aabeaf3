"""The reference says what the declarations say."""

from dataclasses import dataclass

import pytest
from omegaconf import MISSING

from backbone.common.options import option
from icl.methods.catalog import METHODS
from tasks.catalog import TASKS
from tests.docs.pages import hook

pytest.importorskip("mkdocs", reason="pip install 'genomic-icl[docs]'")
reference = hook("reference")


@dataclass
class Made:
    fasta: str = option(MISSING, "files to read")
    mode: str = option("grid", "how; a|b", choices=("grid", "tpe"))
    rate: float = option(0.1, "how fast, 1, 2, ...", above=0, most=1)
    steps: int | None = option(None, "how long")


def test_a_table_of_options_has_defaults_choices_and_limits():
    assert reference.options_table(Made, "method.").splitlines() == [
        "| Option | Default | Meaning |",
        "| --- | --- | --- |",
        "| `method.fasta` | must be given | Files to read. |",
        "| `method.mode` | `grid` | How; a\\|b.<br>One of `grid`, `tpe`. |",
        "| `method.rate` | `0.1` | How fast, 1, 2, ...<br>More than 0 and at most 1. |",
        "| `method.steps` | `null` | How long. |",
    ]


def test_every_task_and_method_is_on_its_page():
    tasks, methods = reference.tasks_page(), reference.methods_page()
    assert [name for name in TASKS.names() if f"`{name}`" not in tasks] == []
    assert [name for name in METHODS.names() if f"## {name} " not in methods] == []


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("python -m icl.run task=TASK: fit one method.", "Fit one method"),
        ("Pretrain a model: `python -m backbone.pretrain key=value ...`.", "Pretrain a model"),
        ("The command `python -m tasks`: list all tasks.", "List all tasks"),
        ("Curves of runs: how a metric grows.\n\nMore.", "Curves of runs: how a metric grows"),
    ],
)
def test_a_summary_is_the_first_sentence_without_the_command(docstring, summary):
    module = type("Module", (), {"__doc__": docstring})
    assert reference.summary(module) == summary


def test_indented_lines_of_a_docstring_are_code():
    assert reference.as_markdown("Usage:\n    a\n    b\nText") == "Usage:\n\n    a\n    b\nText"


def test_a_package_page_names_its_modules():
    page = reference.package_page("backbone.common")
    assert page.startswith("# backbone.common\n") and "::: backbone.common.options\n" in page
