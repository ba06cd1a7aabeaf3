"""The base of methods that tune a copy of the backbone and answer with label words."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from backbone.common.errors import InputError
from icl.inference.label_word_method import LabelWordMethod
from icl.method import Context
from icl.tuning.tuned_method import TunedConfigT, TunedMethod
from prompts.calibration import fit_offset
from tasks.task import Example

ADVICE = "give more training rows, more method.epochs or another method.lr"


class LabelWordTuning(LabelWordMethod[TunedConfigT], TunedMethod[TunedConfigT]):
    """Tuned weights under label words, with an offset per class.

    The offset is fitted in closed form: on training rows before the first step, so that tuning does
    not have to bridge the priors of the label words, and on validation rows after the last.

    Attributes:
        offset: (C,), added to the scores of the label words.
    """

    def __init__(self, config: TunedConfigT, context: Context) -> None:
        """Check the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self.offset = np.zeros(len(context.labels))

    @abstractmethod
    def start_scores(self, train: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N, C) of training rows before tuning, and their labels (N,)."""

    def before_tuning(self, train: Sequence[Example]) -> None:
        """Fit the offset on the training rows, before any weight has moved."""
        self.offset = np.zeros(len(self.context.labels))
        if self.context.kind == "classes":
            self.offset = fit_offset(*self.start_scores(train))

    def after_tuning(self, val: Sequence[Example]) -> None:
        """Fit the offset again, on the validation rows."""
        if self.context.kind == "classes":
            labels = np.array([e.label for e in val])
            self.offset = self.offset + fit_offset(self.scores(val), labels)

    @property
    def trainable_parameters(self) -> int:
        """Count the weights that are tuned and, for classes, one offset each."""
        return super().trainable_parameters + len(self.offset) * (self.context.kind == "classes")

    def state(self) -> dict[str, np.ndarray]:
        """Return the tuned weights, the demonstrations and the offset."""
        offset = {"offset": self.offset} if self.context.kind == "classes" else {}
        return super().state() | self.demonstrations.state() | offset

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over tuned weights, demonstrations and offset.

        Runs of earlier versions have no offset; theirs is 0.
        """
        own, weights = self.demonstrations.split_state(state)
        self.demonstrations.load_state(own, self.verbalizer)
        zeros = np.zeros(len(self.context.labels))
        if self.context.kind == "classes":
            offset = weights.pop("offset", zeros).astype(np.float64)
            if offset.shape != zeros.shape:
                raise InputError(f"the saved offset has shape {offset.shape}; run again")
            self.offset = offset
        super().load_state(weights)
