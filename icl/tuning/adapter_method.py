"""A frozen backbone with a small PEFT adapter, answering with label words, without demonstrations.

Tasks of other kinds than classes, for which there are no label words, have a linear head. Under the
channel readout learned vectors of each class stand before the query, tuned with the adapter.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.inference.batches import check_lengths
from icl.inference.readout import ReadoutConfig
from icl.method import ADAPTER, Context
from icl.tuning.config import TunedConfig
from icl.tuning.label_word_tuning import ADVICE, LabelWordTuning
from prompts.calibration import fitted
from tasks.task import Example, subset

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig
    from torch import nn

    from icl.inference.channel import ChannelReader
    from icl.inference.reader import PromptReader
    from icl.tuning.loop import Step


@dataclass
class AdapterConfig(TunedConfig, ReadoutConfig):
    """How an adapter is tuned, and how the answer is read."""

    class_vectors: int = option(
        16, "with readout=channel, learned vectors of each class before the query", least=1
    )
    validation_samples: int = option(
        256,
        "with readout=channel, maximum number of validation rows that choose the epoch",
        least=1,
    )


AdapterConfigT = TypeVar("AdapterConfigT", bound=AdapterConfig)


class AdapterMethod(LabelWordTuning[AdapterConfigT]):
    """The base of LoRA and IA3.

    The adapter leaves the implicit filters alone, so the engine that caches them is exact here
    while the adapter is tuned too.
    """

    def __init__(self, config: AdapterConfigT, context: Context) -> None:
        """Check the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        if self.reads_channel and self.has_head:
            raise InputError("method.readout=channel compares classes: this task has none")
        self._normalisation = config.normalisation

    @property
    def reads_channel(self) -> bool:
        """Whether the query is read after learned vectors of each class."""
        return self.config.readout == "channel"

    @property
    def has_head(self) -> bool:
        """Whether a linear head answers, in place of label words."""
        return self.context.kind != "classes"

    @abstractmethod
    def adapter(self) -> "LoraConfig | IA3Config":
        """Return the adapter's kind and size."""

    def build(self) -> "nn.Module":
        """Copy the backbone and insert the adapter."""
        from icl.tuning.adapters import copy_with_adapter
        from icl.tuning.channel_copy import ChannelCopy
        from icl.tuning.pooled_head import PooledHead

        copy = copy_with_adapter(self.context.load_backbone(), self.adapter(), self.context.seed)
        classes = len(self.context.labels)
        if self.reads_channel:
            return ChannelCopy(copy, classes, self.config.class_vectors, self.context.seed)
        return PooledHead(copy, classes) if self.has_head else copy

    @property
    def needs_separator(self) -> bool:
        """Whether [SEP] stands before a label word."""
        return not self.has_head and super().needs_separator

    def check(self, examples: Sequence[Example]) -> None:
        """Reject rows that do not fit with [SEP] and a label word."""
        super().check(examples)
        around = 0 if self.has_head else 1 + self.verbalizer.length
        around += self.config.class_vectors if self.reads_channel else 0
        check_lengths([e.sequence for e in examples], self.max_seq_len - around)

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tune on `train`; the best epoch is that of least loss on `val`, or on some of it."""
        if not self.reads_channel:
            super().fit(train, val)
            return
        few = subset(val, min(len(val), self.config.validation_samples), self.context.seed)
        self._built, self._normalisation = None, self.config.normalisation
        reader = self._from_rows(train)
        reader.choose_normalisation(few, self.config.strands)
        self._normalisation = reader.normalisation
        super().fit(train, few)

    def before_tuning(self, train: Sequence[Example]) -> None:
        """Fit offsets; in the channel, start from training rows, and fit a scale too."""
        if not self.reads_channel:
            super().before_tuning(train)
            return
        reader = self._from_rows(train)
        few = subset(train, min(len(train), self.config.validation_samples), self.context.seed)
        reader.begin(reader.queries(few, self.config.strands))

    def after_tuning(self, val: Sequence[Example]) -> None:
        """Fit offsets again; in the channel, the scale too."""
        if not self.reads_channel:
            super().after_tuning(val)
            return
        queries, reader = self.query_set(val), self.reader()
        reader.calibrate(queries.scores(), queries.labels)

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return scores by which an epoch is chosen: in the channel, scaled to fit."""
        return fitted(scores, labels) if self.reads_channel else scores

    def start_scores(self, train: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return the frozen backbone's scores: the adapter starts without effect."""
        queries = self.query_set(train)
        return queries.scores(), queries.labels

    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> "Iterator[Step]":
        """Yield an epoch's steps: cross-entropy of the label words against each other."""
        from icl.tuning.loop import in_parts
        from icl.tuning.pooled_head import head_steps

        if self.has_head:
            yield from head_steps(self, train, generator)
            return
        learning = self.query_set(train)
        for rows in learning.epoch(self.config.rows, generator):
            yield in_parts(learning.loss, rows, learning.queries, self.module)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return scores; see `Method.scores`."""
        from icl.tuning.pooled_head import head_scores

        if self.has_head:
            return head_scores(self, examples)
        scores = self.query_set(examples).scores()
        self.details = self.describe_answers(scores, ADVICE)
        if channel := self.channel_reader():
            self.details |= channel.details()
        return scores

    def _from_rows(self, train: Sequence[Example]) -> "ChannelReader":
        """Start the vectors of the classes from training rows; return their reader."""
        reader = self.channel_reader()
        assert reader is not None
        order = stream(self.context.seed, "rows of the first prompt").permutation(len(train))
        reader.start_from([train[i] for i in order])
        return reader

    @property
    def trainable_parameters(self) -> int:
        """Count the adapter's weights, offsets, and the vectors and scale of the channel."""
        if self.reads_channel:
            return sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        return super().trainable_parameters

    def state(self) -> dict[str, np.ndarray]:
        """Return the tuned weights and the offset; vectors and normalisation of the channel."""
        reader = self.channel_reader() if self.reads_channel else None
        return super().state() | ({} if reader is None else reader.state())

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` returned."""
        rest = dict(state)
        if self.reads_channel:
            reader = self.channel_reader()
            assert reader is not None
            rest = reader.load_state(rest)
            self._normalisation = reader.normalisation
        super().load_state(rest)

    def reader(self) -> "PromptReader | ChannelReader":
        """Return the reader of the weights that the copy has now."""
        from icl.inference.reader import reader_without_vectors
        from icl.tuning.adapters import backbone_of
        from icl.tuning.channel_copy import ChannelCopy

        module = self.module
        if isinstance(module, ChannelCopy):
            return module.reader(self.demonstrations, self.context, self._normalisation)
        model = backbone_of(module)
        return reader_without_vectors(
            model, self.verbalizer, self.demonstrations, self.context, self.offset
        )

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter with label words and offset; PEFT lacks heads and the channel."""
        from icl.tuning.peft_export import save_adapter

        if not self.has_head and not self.reads_channel:
            words, offset = self.verbalizer.words, self.offset.tolist()
            save_adapter(self.module, words, offset, folder / ADAPTER)
