from dataclasses import dataclass, field

import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.family import (
    TaskConfig,
    TaskFamily,
    build_task,
    default_options,
    options_class,
    path_option,
    result_options,
)
from tasks.task import Task


@dataclass
class Windows(TaskConfig):
    length: int = field(default=100, metadata={"help": "bases of a window"})
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
