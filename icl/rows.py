"""The rows of a run: how a task is split, which rows train the method, and which are scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backbone.common.errors import InputError
from backbone.common.streams import stream, stream_seed
from icl.config.options import RunConfig
from icl.controls import TRAIN_LABELS, shuffled_labels
from tasks.audit.kinship import kinship
from tasks.audit.resplit import check_strict, redivided
from tasks.division import stratified_sample
from tasks.task import Example, Splits, Task, data_folder, strata, subset

KEPT = 2
"""Divisions that are kept for the next runs."""


@dataclass(frozen=True)
class Rows:
    """The rows of one run; with evaluate=val the test rows are counted but not used.

    Attributes:
        train: Rows to learn from.
        val: Rows to choose settings by.
        evaluated: Rows that are scored.
        scored: (N,) their places in their split, ascending.
    """

    train: Sequence[Example]
    val: Sequence[Example]
    evaluated: Sequence[Example]
    scored: np.ndarray


def rows_of(config: RunConfig, splits: Splits) -> Rows:
    """Return the rows of a run, drawn under its seed if it asks for fewer than there are."""
    train: Sequence[Example] = splits.train
    val_rows = _some(splits.val, config.val_rows, config.seed, "validation rows")
    val: Sequence[Example] = [splits.val[row] for row in val_rows]
    scored, evaluated = val_rows, val
    if config.evaluate == "test":
        scored = _some(splits.test, config.test_rows, config.seed, "test rows")
        evaluated = [splits.test[row] for row in scored]
    if config.n_train is not None:
        train = subset(train, config.n_train, config.seed)
    if config.control == TRAIN_LABELS:
        generator = stream(config.seed, "shuffled labels")
        train, val = shuffled_labels(train, generator), shuffled_labels(val, generator)
    return Rows(train, val, evaluated, scored)


def _some(rows: Sequence[Example], most: int | None, seed: int, purpose: str) -> np.ndarray:
    """Return the places of at most so many rows, stratified by class, ascending."""
    if most is None or most >= len(rows):
        return np.arange(len(rows))
    return stratified_sample(strata(rows), most, stream_seed(seed, purpose))


def divided(config: RunConfig, task: Task) -> Splits:
    """Return the rows of a task, divided as the options of a run specify.

    Raises:
        InputError: If the rows cannot be had or divided so, or if `strict` is on and test rows are
            copies of training or validation rows.
    """
    if config.audit == "none" and (config.strict or config.split in ("clean", "by_cluster")):
        wanted = "strict=true" if config.strict else f"split={config.split}"
        raise InputError(f"audit=none: {wanted} needs the search for relatives; drop one of them")
    data = data_folder(config.data)
    splits = task.splits(config.split_seed, data)
    splits = redivided(task, splits, config.split, config.split_seed, data)
    if config.strict:
        check_strict(task, kinship(splits))
    return splits


@dataclass
class Divisions:
    """`divided`, with the last divisions kept, for many runs on the same rows.

    Files that change while it lives are not read again.
    """

    _kept: dict[str, Splits] = field(default_factory=dict)

    def __call__(self, config: RunConfig, task: Task) -> Splits:
        """Return the rows of a task; see `divided`."""
        key = repr((
            config.task, str(data_folder(config.data)), config.split_seed, config.split,
            config.strict, config.audit,
        ))  # fmt: skip
        if key not in self._kept:
            self._kept[key] = divided(config, task)
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]
