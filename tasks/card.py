"""A task's card: its question, source and known flaws, and statistics of its rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np

from backbone.common.errors import InputError
from backbone.sequence.dna import gc_content
from tasks.kinds import kind_of
from tasks.task import Example, Kind, Splits, Task

WIDTH = 100

SUITING: dict[Kind, str] = {
    "classes": "every method",
    "multi_label": (
        "fine_tune, fisher_probe, gc_only, ia3, kmer_logreg, length_only, linear_probe, lora, "
        "majority; prompts take one label at a time, where the task has the option task.label=NAME"
    ),
    "regression": (
        "fine_tune, fisher_probe, gc_only, ia3, kmer_logreg, length_only, linear_probe, lora, "
        "majority"
    ),
}
"""Methods that suit a kind of task, as `python -m icl.run` lists them."""

LISTED = 12
"""Labels that a card lists; of more, the first ones."""


def card(task: Task, split_seed: int, data: Path | None) -> list[str]:
    """Return the lines of a task's card, with its rows where the data are available.

    Args:
        task: The task.
        split_seed: Seed of the division, where the task leaves it open.
        data: As in `Task.splits`.
    """
    lines = [task.name, *_facts(task)]
    try:
        splits = task.splits(split_seed, data)
    except InputError as error:
        return [*lines, *_field("rows", f"not here: {error}")]
    return [*lines, *_field("splits", splits.origin), *_rows(task, splits)]


def _facts(task: Task) -> Iterator[str]:
    labels = ", ".join(task.labels[:LISTED])
    more = f" and {len(task.labels) - LISTED} more" if len(task.labels) > LISTED else ""
    facts = {
        "what": task.description,
        "kind": task.kind,
        kind_of(task).noun: f"{len(task.labels)}: {labels}{more}",
        "groups": "; ".join(f"{name} ({len(of)} labels)" for name, of in task.groups.items()),
        "metric": task.metric,
        "best": "" if task.best_accuracy is None else f"accuracy {task.best_accuracy}",
        "source": _source(task),
        "citation": task.citation,
        "licence": task.licence,
        "methods": SUITING[task.kind],
        "flaws": "" if task.flaws else "none known; python -m tasks check looks for them",
    }
    for name, text in facts.items():
        if text:
            yield from _field(name, text)
    for flaw in task.flaws:
        yield from _field("flaw", flaw)


def _source(task: Task) -> str:
    """Return the published places of the rows; empty for other sources."""
    hub = getattr(task.source, "hub", None)
    layouts = getattr(task.source, "layouts", ())
    places = [f"Hub data set {hub.repository}"] if hub is not None else []
    places += [" + ".join(layout.files()) for layout in layouts]
    return ", or ".join(places)


def _rows(task: Task, splits: Splits) -> Iterator[str]:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    for name, rows in parts.items():
        lengths = [len(example.sequence) for example in rows]
        middle = int(np.median(lengths))
        spread = f"{min(lengths)} to {max(lengths)} (median {middle})"
        size = f"{middle}" if min(lengths) == max(lengths) else spread
        labels = kind_of(task).labels_text(task, rows)
        yield from _field(name, f"{len(rows):,} rows of {size} bases; {labels}")
    everything = [example for rows in parts.values() for example in rows]
    yield from _field("GC", _gc(task, everything))
    if splits.ambiguous_letters:
        yield from _field("letters", f"{splits.ambiguous_letters:,} IUPAC letters read as N")
    for note in splits.notes:
        yield from _field("read", note)
    yield from _field("sha256", splits.sha256)


def _gc(task: Task, rows: Sequence[Example]) -> str:
    """Return the mean GC content and its spread, and the mean of each class."""
    shares = np.array([gc_content(example.sequence) for example in rows])
    whole = f"{shares.mean():.3f} (standard deviation {shares.std():.3f})"
    groups = kind_of(task).groups(task, rows)
    by_class = [f"{name} {shares[at].mean():.3f}" for name, at in groups.items()]
    return f"{whole}; {', '.join(by_class)}" if len(groups) > 1 else whole


def _field(name: str, text: str) -> list[str]:
    """Return the lines of a name and its text, wrapped in a column."""
    first, *rest = wrap(text, WIDTH - 12, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {name:<10}{first}", *(f"{'':12}{line}" for line in rest)]
