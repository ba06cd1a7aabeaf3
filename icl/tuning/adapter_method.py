"""A frozen backbone with a small PEFT adapter, answering with label words, without demonstrations.

Tasks of other kinds than classes, for which there are no label words, have a linear head.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from icl.inference.batches import check_lengths
from icl.inference.reader import PromptReader, reader_without_vectors
from icl.tuning.adapters import backbone_of, copy_with_adapter
from icl.tuning.label_word_tuning import ADVICE, LabelWordTuning
from icl.tuning.loop import Step
from icl.tuning.peft_export import ADAPTER, save_adapter
from icl.tuning.pooled_head import PooledHead, head_scores, head_steps
from icl.tuning.tuned_method import TunedConfigT, in_parts
from tasks.task import Example

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig


class AdapterMethod(LabelWordTuning[TunedConfigT]):
    """The base of LoRA and IA3.

    The adapter leaves the implicit filters alone, so the engine that caches them is exact here
    while the adapter is tuned too.
    """

    @property
    def has_head(self) -> bool:
        """Whether a linear head answers, in place of label words."""
        return self.context.kind != "classes"

    @abstractmethod
    def adapter(self) -> "LoraConfig | IA3Config":
        """Return the adapter's kind and size."""

    def build(self) -> nn.Module:
        """Copy the backbone and insert the adapter."""
        copy = copy_with_adapter(self.context.load_backbone(), self.adapter(), self.context.seed)
        return PooledHead(copy, len(self.context.labels)) if self.has_head else copy

    def check(self, examples: Sequence[Example]) -> None:
        """Reject rows that do not fit with [SEP] and a label word."""
        ending = 0 if self.has_head else 1 + self.verbalizer.length
        check_lengths([e.sequence for e in examples], self.max_seq_len - ending)

    def start_scores(self, train: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return the frozen backbone's scores: the adapter starts without effect."""
        queries = self.query_set(train)
        return queries.scores(), queries.labels

    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> Iterator[Step]:
        """Yield an epoch's steps: cross-entropy of the label words against each other."""
        if self.has_head:
            yield from head_steps(self, train, generator)
            return
        learning = self.query_set(train)
        for rows in learning.epoch(self.config.rows, generator):
            yield in_parts(learning.loss, rows, learning.queries)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return scores; see `Method.scores`."""
        if self.has_head:
            return head_scores(self, examples)
        scores = self.query_set(examples).scores()
        self.details = self.describe_answers(scores, ADVICE)
        return scores

    def reader(self) -> PromptReader:
        """Return the reader of the weights that the copy has now."""
        model = backbone_of(self.module)
        return reader_without_vectors(
            model, self.verbalizer, self.demonstrations, self.context, self.offset
        )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter with label words and offset; not with a head, which PEFT lacks."""
        if not self.has_head:
            words, offset = self.verbalizer.words, self.offset.tolist()
            save_adapter(self.module, words, offset, folder / ADAPTER)
