"""Controls: runs from which one source of information has been removed.

An effect that persists in such a run does not come from the removed source. Min et al. 2022 (arXiv
2202.12837) introduced most of these for language models: demonstrations with uninformative labels,
or with unrelated text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from backbone.common.errors import InputError
from backbone.common.names import unknown
from tasks.task import Example

if TYPE_CHECKING:
    from icl.method import MethodEntry
    from prompts.demonstrations import Demonstration

Needs = Literal["demonstrations", "label words", "backbone", "nothing"]


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes:
        summary: What it changes.
        needs: What a method must have for the control to change anything.
        claim: What a method does if its plain run differs from this one.
        survival: A sentence for the case that the effect persists.
    """

    summary: str
    needs: Needs
    claim: str
    survival: str


_UNCHANGED = "Plain runs that are better than this control"

CONTROLS: dict[str, Control] = {
    "demo_labels_shuffled": Control(
        "the demonstrations' labels are permuted among them",
        "demonstrations",
        "learning from the labels",
        f"{_UNCHANGED} use the pairing of demonstrations and labels.",
    ),
    "demo_labels_flipped": Control(
        "every demonstration has the label of the next class",
        "demonstrations",
        "learning from the labels",
        "A method that follows the labels falls below chance in this control; unchanged accuracy "
        "means the labels are ignored.",
    ),
    "demo_labels_random": Control(
        "the demonstrations' labels are drawn uniformly from all classes",
        "demonstrations",
        "learning from the labels",
        f"{_UNCHANGED} use the labels, or the equal number of demonstrations per class.",
    ),
    "words_swapped": Control(
        "label words are rotated by one class",
        "label words",
        "dependence on the label-word assignment",
        "The effect persists if accuracy is unchanged; a difference shows how much of the effect "
        "depends on the label-word assignment.",
    ),
    "demos_other_task": Control(
        "the demonstrations are rows of another task, with their labels there",
        "demonstrations",
        "learning from this task's demonstrations",
        f"{_UNCHANGED} use what the demonstrations reveal about this task.",
    ),
    "demos_random_dna": Control(
        "the demonstrations are random nucleotides of the same lengths, with the same labels",
        "demonstrations",
        "learning from the demonstrations' sequences",
        f"{_UNCHANGED} use the sequences of the demonstrations, not only their format.",
    ),
    "query_alone": Control(
        "the query is given without demonstrations",
        "demonstrations",
        "gaining from demonstrations",
        f"{_UNCHANGED} gain from demonstrations, whatever they learn from them.",
    ),
    "train_labels_shuffled": Control(
        "the labels of training and validation rows are permuted",
        "nothing",
        "learning from the training labels",
        f"{_UNCHANGED} learn from labels; over several seeds, accuracy above chance "
        "here means a leak, or label words that match the classes anyway (see words_swapped).",
    ),
    "random_backbone": Control(
        "the backbone has random weights",
        "backbone",
        "gaining from pretraining",
        f"{_UNCHANGED} use what the backbone learned in pretraining.",
    ),
}
"""Every control by its name, in the order in which they are run."""

OTHER_TASK = "demos_other_task"
WORDS_SWAPPED = "words_swapped"
TRAIN_LABELS = "train_labels_shuffled"
RANDOM_BACKBONE = "random_backbone"


def applicable(method: MethodEntry, shots: int | None) -> list[str]:
    """Return the names of the controls that can change a method's result.

    Args:
        method: The registered method.
        shots: Demonstrations per class that it uses.
    """
    has: dict[Needs, bool] = {
        "demonstrations": method.label_words and bool(shots),
        "label words": method.label_words,
        "backbone": method.uses_backbone,
        "nothing": True,
    }
    return [name for name, control in CONTROLS.items() if has[control.needs]]


def check_control(name: str, method: str, fitting: Sequence[str]) -> None:
    """Refuse a control that is unknown or changes nothing.

    Args:
        name: As given.
        method: Name of the method.
        fitting: Names of the controls that apply to the method as it is set.

    Raises:
        InputError: For any name that is not among them.
    """
    if name in fitting:
        return
    if name not in CONTROLS:
        raise unknown("control", name, [*CONTROLS, "all"])
    needed = CONTROLS[name].needs
    why = "with these shots shows no demonstrations" if needed == "demonstrations" else "has none"
    raise InputError(
        f"control {name} is about {needed}, and method {method} {why}; those that apply: "
        f"{', '.join(fitting)}"
    )


def controlled_demonstrations(
    demonstrations: Sequence[Demonstration],
    control: str | None,
    classes: int,
    generator: np.random.Generator,
    other_rows: Callable[[], Sequence[Example]] | None,
) -> tuple[Demonstration, ...]:
    """Return a set of demonstrations after a control has changed it; others leave it unchanged.

    Args:
        demonstrations: In the order in which they are shown.
        control: Name of the run's control, or None.
        classes: Classes of the task.
        generator: Source of the draws: a new one for each set, made from the run's seed and from
            the query where the set is one query's, so that no row depends on another.
        other_rows: Gives the rows of another task, for `demos_other_task`. A row takes the place of
            a demonstration with its label, and is cut to the same length around its centre.

    Raises:
        InputError: If the other task has too few rows of a class.
    """
    shown = tuple(demonstrations)
    if control == "query_alone":
        return ()
    if control == "demo_labels_shuffled":
        labels = generator.permutation([one.label for one in shown])
    elif control == "demo_labels_flipped":
        labels = np.array([(one.label + 1) % classes for one in shown])
    elif control == "demo_labels_random":
        labels = generator.integers(classes, size=len(shown))
    elif control == "demos_random_dna":
        return tuple(replace(one, sequence=_random_dna(one.sequence, generator)) for one in shown)
    elif control == OTHER_TASK:
        assert other_rows is not None, "a run with this control gives its method the rows"
        return _of_other_task(shown, other_rows(), generator)
    else:
        return shown
    return tuple(replace(one, label=int(to)) for one, to in zip(shown, labels, strict=True))


def shuffled_labels(rows: Sequence[Example], generator: np.random.Generator) -> list[Example]:
    """Return the rows with their labels permuted among them."""
    order = generator.permutation(len(rows))
    return [replace(row, label=rows[i].label) for row, i in zip(rows, order, strict=True)]


def controlled_words(
    words: Sequence[str] | None, control: str | None, classes: int
) -> tuple[str, ...] | None:
    """Return the label words under a control: class i takes that of class i + 1 when swapped."""
    given = None if words is None else tuple(words)
    if control != WORDS_SWAPPED:
        return given
    from prompts.verbalizer import default_words

    plain = given or default_words(classes)
    return plain[1:] + plain[:1]


def controlled_backbone(name: str, control: str | None) -> str:
    """Return the name of the backbone under a control.

    Raises:
        InputError: If its weights are random already.
    """
    if control != RANDOM_BACKBONE:
        return name
    if name.startswith("random:"):
        raise InputError(f"backbone={name}: its weights are random already; drop {control}")
    return f"random:{name}"


def _random_dna(like: str, generator: np.random.Generator) -> str:
    return "".join(generator.choice(list("ACGT"), size=len(like)))


def _of_other_task(
    shown: Sequence[Demonstration], rows: Sequence[Example], generator: np.random.Generator
) -> tuple[Demonstration, ...]:
    """Return a row of the other task with the same label for each demonstration, none twice."""
    replaced = list(shown)
    for label in sorted({one.label for one in shown}):
        places = [place for place, one in enumerate(shown) if one.label == label]
        of_label = [row for row in rows if row.label == label]
        if len(of_label) < len(places):
            raise InputError(
                f"other_task= has {len(of_label)} rows of class {label}, and {len(places)} "
                f"demonstrations are shown; give another task or fewer shots"
            )
        drawn = generator.choice(len(of_label), size=len(places), replace=False)
        for place, row in zip(places, drawn, strict=True):
            length = len(shown[place].sequence)
            sequence = of_label[int(row)].sequence
            start = max(0, (len(sequence) - length) // 2)
            replaced[place] = replace(shown[place], sequence=sequence[start : start + length])
    return tuple(replaced)
