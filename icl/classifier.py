"""A method as a scikit-learn classifier of DNA sequences."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from backbone.common.errors import InputError
from backbone.sequence.dna import normalise
from icl.config.options import configure, entry
from icl.environment import prepare_arithmetic
from icl.method import Context
from icl.predict import predict
from icl.run import shared_backbone
from tasks.division import divide, same_sequence
from tasks.task import Example


class PromptClassifier(ClassifierMixin, BaseEstimator):
    """Learns from labelled DNA sequences with a frozen backbone, and scores others.

    It follows scikit-learn's conventions, so that `cross_val_score`, `Pipeline` and `clone` work.
    Sequences are strings of DNA in a list or array; labels are anything that can be sorted. `fit`
    holds out a stratified share of its rows as validation rows.

    Args:
        method: Name of a method, as on the command line.
        k: The method's budget: prompt tokens, or shots per class; None is its default.
        shots: Demonstrations in addition to prompt tokens, for methods that take both.
        seed: Seed of training and of everything drawn at random.
        validation: Share of the rows held out for validation.
        backbone: Name of a checkpoint, a folder, or random:NAME.
        device: cpu, cuda or mps.
        threads: CPU threads.
        options: Options of the method by their names on the command line, such as
            `{"method.lr": 0.01}`; also `precision`, `batch_size`, `verbalizer.words`.

    Attributes:
        classes_: (C,) the labels, sorted; the columns of `predict_proba`.
    """

    def __init__(
        self,
        method: str = "soft_prompt",
        k: int | None = None,
        shots: int | None = None,
        seed: int = 0,
        validation: float = 0.2,
        backbone: str = "bundled",
        device: str = "cpu",
        threads: int = 2,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the parameters; they are checked by `fit`."""
        self.method = method
        self.k = k
        self.shots = shots
        self.seed = seed
        self.validation = validation
        self.backbone = backbone
        self.device = device
        self.threads = threads
        self.options = options

    def fit(self, sequences: Sequence[str], labels: ArrayLike) -> "PromptClassifier":
        """Learn from N sequences with N labels.

        Raises:
            InputError: If a parameter, a sequence or the labels cannot be used.
        """
        named = ("k", "shots", "seed", "backbone", "device", "threads")
        given = {name: getattr(self, name) for name in named} | dict(self.options or {})
        config = configure("synthetic_easy", self.method, given)  # of a task only classes matter
        prepare_arithmetic(config.threads, config.device)
        self.classes_, targets = np.unique(np.asarray(labels), return_inverse=True)
        rows = [Example(text, int(c)) for text, c in zip(_clean(sequences), targets, strict=False)]
        if len(rows) != len(targets) or len(rows) != len(sequences):
            raise InputError(f"{len(sequences)} sequences and {len(targets)} labels")
        if len(self.classes_) < 2:
            raise InputError("the labels are all the same; give at least two classes")
        train, val = self._divided(rows)
        context = Context(
            labels=tuple(str(label) for label in self.classes_),
            seed=config.seed,
            load_backbone=partial(shared_backbone, config.backbone, config.device),
            device=config.device,
            precision="bf16" if config.precision == "bf16" else "float32",
            batch_size=config.batch_size,
            prompt_tokens=config.prompt_tokens,
            shots=config.shots,
            label_words=None if not config.verbalizer.words else tuple(config.verbalizer.words),
        )
        self._fitted = entry(config).cls(config.method, context)
        self._fitted.check(rows)
        self._fitted.fit(train, val)
        return self

    def predict_proba(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the probabilities of the classes, (N, C), of N sequences.

        Raises:
            InputError: If a sequence is not DNA, or too long for the backbone.
        """
        check_is_fitted(self, "classes_")
        return predict(self._fitted, _clean(sequences))

    def predict(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the likeliest label of each sequence, (N,)."""
        return self.classes_[self.predict_proba(sequences).argmax(axis=1)]

    def _divided(self, rows: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """Return training and validation rows; copies of a sequence stay together."""
        if not 0 < self.validation < 1:
            raise InputError(f"validation={self.validation}: must be more than 0 and less than 1")
        groups = same_sequence([row.sequence for row in rows])
        labels = [row.label for row in rows]
        parts = divide(labels, groups, (1 - self.validation, self.validation), self.seed)
        train, val = ([rows[i] for i in part] for part in parts)
        if {row.label for row in train} != {*labels} or not val:
            raise InputError(
                f"{len(rows)} rows are too few for validation={self.validation}: every class needs "
                f"a training row, and one row must be left for validation"
            )
        return train, val

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: the input is one string per row."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def _clean(sequences: Sequence[str]) -> list[str]:
    """Return the sequences over ACGTN."""
    if isinstance(sequences, str):
        raise InputError("give a list of sequences, not one string")
    return [normalise(str(text), row)[0] for row, text in enumerate(sequences, start=1)]
