"""Multi-label tasks, and one of their labels as a two-class task: `task.label=NAME`."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from backbone.common.errors import InputError
from backbone.common.names import suggestion
from tasks.registry import TaskConfig, TaskFamily
from tasks.sources.published import PublishedSource, assemble
from tasks.task import Splits, Task


@dataclass(frozen=True)
class OneLabelSource:
    """One label of a multi-label task: the same rows, in class 1 where they have the label.

    Attributes:
        source: Source of the multi-label task.
        whole: That task.
        label: Name of the label.
    """

    source: PublishedSource
    whole: Task
    label: str

    def splits(self, task: Task, split_seed: int, data: Path | None) -> Splits:
        """Read the rows and divide them, stratified by the label; see `Task.splits`."""
        rows, revision = self.source.rows(self.whole, data)
        place = self.whole.labels.index(self.label)
        of_label = {
            name: replace(part, examples=tuple(
                replace(example, label=example.label[place]) for example in part.examples
            ))
            for name, part in rows.items()
        }  # fmt: skip
        return assemble(task, of_label, split_seed, revision)

    def tables(self, data: Path | None) -> list[tuple[Path, str]]:
        """Return the tables that `splits` reads, and their columns of sequences."""
        return self.source.tables(data)


@dataclass
class LabelConfig(TaskConfig):
    """Options of a multi-label task."""

    label: str | None = field(
        default=None, metadata={"help": "a single label, as two classes; null takes all labels"}
    )


def multi_label_family(task: Task) -> TaskFamily:
    """Return a multi-label task with the option of a single label.

    Args:
        task: Its source must be a `PublishedSource`.
    """

    def build(options: LabelConfig) -> Task:
        return task if options.label is None else one_label(task, options.label)

    return TaskFamily(task.name, LabelConfig, build, task.description)


def one_label(task: Task, label: str) -> Task:
    """Return the task of two classes: rows without a label, and rows with it.

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
