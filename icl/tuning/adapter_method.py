"""A frozen backbone with a small adapter of PEFT's, answering with label words, nothing shown.

Tasks of other kinds than classes, for which there are no label words, have a linear head.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from icl.inference.batches import check_lengths
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.reader import LabelWordScorer, PromptReader, QuerySet
from icl.method import Context
from icl.tuning.adapters import backbone_of, copy_with_adapter
from icl.tuning.peft_export import ADAPTER, save_adapter
from icl.tuning.pooled_head import PooledHead, head_scores, head_steps
from icl.tuning.tuned_method import TunedConfigT, TunedMethod, cut_steps, in_parts
from prompts.soft_prompt import PromptShape, SoftPrompt
from prompts.verbalizer import Verbalizer, verbalizer
from tasks.task import Example

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig

    from backbone.hyena.model import HyenaDNA


class AdapterMethod(TunedMethod[TunedConfigT]):
    """What LoRA and IA3 share.

    The adapter leaves the implicit filters alone, so the engine that keeps them is exact here while
    the adapter is tuned too.
    """

    def __init__(self, config: TunedConfigT, context: Context) -> None:
        """Checks the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        self._speaks = context.kind == "classes"

    @abstractmethod
    def adapter(self) -> "LoraConfig | IA3Config":
        """Which adapter, and how large."""

    def build(self) -> nn.Module:
        """Copies the backbone and puts the adapter in."""
        copy = copy_with_adapter(self.context.load_backbone(), self.adapter(), self.context.seed)
        return copy if self._speaks else PooledHead(copy, len(self.context.labels))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that do not fit beside [SEP] and label word."""
        ending = 1 + self.verbalizer.length if self._speaks else 0
        most = self.context.load_backbone().config.max_seq_len
        check_lengths([e.sequence for e in examples], most - ending)

    def steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> Iterator[Callable[[], Tensor]]:
        """Losses of an epoch's steps: cross-entropy of the label words against each other."""
        if not self._speaks:
            yield from head_steps(self, train, generator)
            return
        learning = self._rows(train, self.config.strands)
        for rows in cut_steps(learning.queries, len(train), self.config.rows, generator):
            yield in_parts(learning.loss, rows, learning.queries)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """See `Method.scores`."""
        if not self._speaks:
            return head_scores(self, examples)
        return self._rows(examples, self.config.strands).scores()

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand."""
        if not self._speaks or self.verbalizer.length > 1:
            return None
        _, tokens = self._rows(examples, "forward").answers()
        return tokens, self.verbalizer.ids[:, 0].numpy()

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapter, where it is all that was learned."""
        if self._speaks:
            save_adapter(self.module, self.verbalizer.words, folder / ADAPTER)

    def _rows(self, examples: Sequence[Example], strands: str) -> QuerySet:
        reader = reading(
            backbone_of(self.module), self.verbalizer, no_demonstrations(self.context), self.context
        )
        return QuerySet(reader, examples, strands)


def no_demonstrations(context: Context) -> DemonstrationSet:
    """Demonstrations of which there are none."""
    most = lambda: context.load_backbone().config.max_seq_len  # noqa: E731
    return DemonstrationSet(DemonstrationConfig(), replace(context, shots=0), most)


def reading(
    model: "HyenaDNA", words: Verbalizer, shown: DemonstrationSet, context: Context
) -> PromptReader:
    """A reader of label words without learned vectors, for the weights that the model has now."""
    vectors = SoftPrompt(model, PromptShape(0, 0, 0), len(words.words), "normal", seed=0)
    vectors = vectors.to(context.device).requires_grad_(False)
    return PromptReader(LabelWordScorer(model, words), vectors, shown, context)
