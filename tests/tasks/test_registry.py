from dataclasses import dataclass, field

import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.registry import (
    Registry,
    TaskConfig,
    TaskFamily,
    build_task,
    default_options,
    options_class,
    path_option,
    result_options,
)
from tasks.task import Task


@pytest.fixture
def registry() -> Registry[int]:
    registry: Registry[int] = Registry("number")
    registry.add("one", 1, aliases=["eins", "un"])
    registry.add("three", 3)
    return registry


def test_finds_values_by_name_and_alias_but_lists_names_only(registry):
    assert [registry.get(name) for name in ("one", "eins", "un", "three")] == [1, 1, 1, 3]
    assert registry.names() == ("one", "three")
    assert "eins" in registry and "two" not in registry


@pytest.mark.parametrize(
    ("name", "aliases"), [("one", []), ("eins", []), ("two", ["one"]), ("two", ["x", "x"])]
)
def test_taken_names_raise_and_register_nothing(registry, name, aliases):
    with pytest.raises(ValueError, match="registered twice"):
        registry.add(name, 2, aliases)
    assert registry.names() == ("one", "three")


def test_an_unknown_name_gives_the_nearest_name_or_alias(registry):
    with pytest.raises(InputError) as error:
        registry.get("thre")
    assert str(error.value) == "unknown number 'thre'; did you mean three?"


def test_the_catalog_knows_the_benchmark_under_both_names():
    assert TASKS.get("human_enhancers_cohn") is TASKS.get("enhancer_cohn")
    assert TASKS.get("dummy_mouse_enhancers_ensembl") is TASKS.get("mouse_enhancer")
    assert set(TASKS.names()) >= {
        "enhancer_cohn", "enhancer_ensembl", "regulatory_ensembl", "promoter_nontata",
        "ocr_ensembl", "coding_vs_intergenic", "human_or_worm", "mouse_enhancer",
        "synthetic_easy", "synthetic_hard",
    }  # fmt: skip
    assert all(TASKS.get(name).name == name for name in TASKS.names())
    with pytest.raises(InputError, match="did you mean enhancer_cohn?"):
        TASKS.get("enhancer_con")


@dataclass
class Windows(TaskConfig):
    length: int = field(default=100, metadata={"help": "window length in bases"})
    genome: str | None = path_option("FASTA file")


@pytest.fixture
def windows(monkeypatch):
    def build(options: Windows) -> Task:
        if options.length < 1:
            raise InputError(f"task.length={options.length}: must be 1 or more")
        return Task(f"windows_{options.length}", ("a", "b"), source=None)

    family = TaskFamily("windows", Windows, build, "windows of a test")
    monkeypatch.setitem(TASKS._values, "windows", family)
    return family


def test_a_family_builds_the_task_that_its_options_ask_for(windows):
    assert options_class("windows") is Windows
    assert default_options("windows") == Windows("windows", 100, None)
    assert build_task(default_options("windows")).name == "windows_100"
    assert build_task(Windows("windows", 250)).name == "windows_250"
    with pytest.raises(InputError, match="task.length=0: must be 1 or more"):
        build_task(Windows("windows", 0))


def test_a_fixed_task_has_its_name_alone(windows):
    assert options_class("enhancer_cohn") is TaskConfig
    assert default_options("human_enhancers_cohn") == TaskConfig("enhancer_cohn")
    assert build_task(TaskConfig("enhancer_cohn")) is TASKS.get("enhancer_cohn")


def test_paths_are_no_part_of_what_names_a_result(windows):
    assert result_options(Windows("windows", 7, "a.fa")) == {"name": "windows", "length": 7}
    assert result_options(TaskConfig("enhancer_cohn")) == {"name": "enhancer_cohn"}


def test_an_unknown_name_is_answered_with_the_nearest(windows):
    with pytest.raises(InputError, match="did you mean windows"):
        build_task(TaskConfig("window"))
