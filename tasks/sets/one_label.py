"""Tasks of several labels, of which one can be asked alone: `task.label=NAME`, in two classes."""

from dataclasses import dataclass, field, replace

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from tasks.registry import TaskConfig, TaskFamily
from tasks.sources.published import OneLabelSource, PublishedSource
from tasks.task import Task


@dataclass
class LabelConfig(TaskConfig):
    """Options of a task of several labels."""

    label: str | None = field(
        default=None, metadata={"help": "one label alone, as two classes; null takes all"}
    )


def multi_label_family(task: Task) -> TaskFamily:
    """A task of several labels, with the choice of one; `task.source` is a `PublishedSource`."""

    def build(options: LabelConfig) -> Task:
        return task if options.label is None else one_label(task, options.label)

    return TaskFamily(task.name, LabelConfig, build, task.description)


def one_label(task: Task, label: str) -> Task:
    """The task of two classes, rows without a label and rows with it.

    Raises:
        InputError: If the task has no such label, with the nearest.
    """
    assert isinstance(task.source, PublishedSource)
    if label not in task.labels:
        raise InputError(
            f"task.label={label}: {task.name} has no such label among its {len(task.labels)}; "
            f"{suggestion(label, task.labels)}"
        )
    return replace(
        task,
        name=f"{task.name}_{label}",
        labels=("absent", "present"),
        source=OneLabelSource(task.source, task, label),
        kind="classes",
        groups={},
        metric="auroc",
    )
