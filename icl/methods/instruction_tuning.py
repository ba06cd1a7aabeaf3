"""Tuning on k-shot prompts, then evaluation with k shots (Nguyen et al. 2023, section 4.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.inference.batches import EncodedSequences
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.readout import ReadoutConfig
from icl.method import ADAPTER, Context, method
from icl.tuning.config import TunedConfig
from icl.tuning.label_word_tuning import ADVICE, LabelWordTuning
from prompts.calibration import fitted
from prompts.template import ClassTemplate
from tasks.task import Example, subset

if TYPE_CHECKING:
    from torch import Tensor, nn

    from backbone.protocol import LanguageModel
    from icl.inference.batches import Batch
    from icl.inference.channel import ChannelReader
    from icl.inference.reader import PromptReader
    from icl.tuning.loop import Step


@dataclass
class InstructionTuningConfig(TunedConfig, DemonstrationConfig, ReadoutConfig):
    """What is tuned, the number of prompts, their demonstrations, and the readout."""

    lr: float = option(3e-4, "peak learning rate", above=0)
    rows: int = option(8, "prompts per training step", least=1)
    tuning_samples: int = option(64, "training rows used as queries in tuning prompts", least=1)
    validation_samples: int = option(
        256, "maximum number of validation rows that choose the epoch", least=1
    )
    adapter: str = option("none", "tune all weights (none) or an adapter", choices=("none", "lora"))
    rank: int = option(8, "rank of each update, with adapter=lora", least=1)
    alpha: float = option(16.0, "updates are scaled by alpha / rank", above=0)


@method(
    "instruction_tuning",
    config=InstructionTuningConfig,
    budget="shots",
    default_budget=2,
    version=2,
)
class InstructionTuning(LabelWordTuning[InstructionTuningConfig]):
    """Weights tuned on k-shot prompts of a few training rows, then evaluated with k shots.

    With `readout=channel` the queries of a step stand after k demonstrations of each class, drawn
    for the step, and the weights learn to make a query likeliest after those of its own class. A
    scale of the scores is fitted with the offsets: before tuning and after it.
    """

    def __init__(self, config: InstructionTuningConfig, context: Context) -> None:
        """Check the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self.tuning_samples = config.tuning_samples
        self._drawn = False
        self._reader: PromptReader | ChannelReader | None = None
        self._scale, self._normalisation = 1.0, config.normalisation

    @property
    def reads_channel(self) -> bool:
        """Whether the query is read after the demonstrations of each class."""
        return self.config.readout == "channel"

    def build(self) -> "nn.Module":
        """Copy the backbone."""
        from icl.tuning.adapters import copy_with_adapter, lora_config, trainable_copy

        model = self.context.load_backbone()
        if self.config.adapter == "lora":
            targets = model.adapter_targets
            config = lora_config(targets, self.config.rank, self.config.alpha)
            return copy_with_adapter(model, config, self.context.seed)
        return trainable_copy(model)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse prompts that may not fit: every epoch draws other demonstrations."""
        super().check(examples)
        if self._drawn:
            return  # these rows are measured with the demonstrations that are loaded
        longest = max(len(e.sequence) for e in examples)
        words, most = self.verbalizer.length, self.max_seq_len
        count = (self.shots or 0) * (1 if self.reads_channel else len(self.context.labels))
        template = self.demonstrations.template(self.verbalizer)
        each = longest + (1 if self.reads_channel else 2 + words)
        tokens = count * template.strands * each + longest + 1 + words
        if tokens > most and (self.config.policy == "refuse" or not count):
            raise InputError(
                f"{count} demonstrations and a query of {longest} nucleotides take up to {tokens} "
                f"tokens, which exceed the backbone's max_seq_len of {most}; give fewer shots, "
                f"method.policy=drop or trim, or a backbone with a longer context"
            )

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draw the demonstrations of the evaluation."""
        if self.config.tuning_samples > len(train):
            raise InputError(
                f"method.tuning_samples={self.config.tuning_samples}: there are {len(train)} "
                f"training rows"
            )
        super().prepare(train, val)
        self._drawn = True

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tune on prompts of `tuning_samples` rows; k-shot loss on validation rows chooses."""
        self.prepare(train, val)
        self._reader = self._built = None
        self._scale, self._normalisation = 1.0, self.config.normalisation
        fewer = subset(val, min(len(val), self.config.validation_samples), self.context.seed)
        if self.reads_channel:
            self.offset = np.zeros(len(self.context.labels))
            reader = self._channel(self.demonstrations)
            reader.choose_normalisation(fewer, self.config.strands)
            self._normalisation = reader.normalisation
        super().fit(train, fewer)

    def before_tuning(self, train: Sequence[Example]) -> None:
        """Fit the offset, and the scale of the channel, before any weight has moved."""
        if not self.reads_channel:
            super().before_tuning(train)
            return
        asked = subset(train, self.config.tuning_samples, self.context.seed)
        seed = int(stream(self.context.seed, "prompts before tuning").integers(2**31))
        reader = self._channel(self._demonstrations_for(asked, train, seed))
        reader.begin(reader.queries(asked, self.config.strands))
        self._take(reader)

    def after_tuning(self, val: Sequence[Example]) -> None:
        """Fit the offset again, with the weights of the best epoch; and the channel's scale."""
        self._reader = None
        if self.reads_channel:
            reader = self._channel(self.demonstrations)
            queries = reader.queries(val, self.config.strands)
            reader.calibrate(queries.scores(), queries.labels)
            self._take(reader)
        else:
            super().after_tuning(val)
        self._reader = None

    def judged(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return scores by which an epoch is chosen: in the channel, scaled to fit."""
        return fitted(scores, labels) if self.reads_channel else scores

    def start_scores(self, train: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores of the tuning prompts of a draw of their own."""
        import torch

        from backbone.side_by_side import side_by_side
        from icl.inference.query_set import TOKENS

        asked = subset(train, self.config.tuning_samples, self.context.seed)
        draw = stream(self.context.seed, "prompts before tuning")
        queries = self._prompts(asked, train, int(draw.integers(2**31)))
        scores = np.zeros((len(queries), len(self.context.labels)))
        with torch.no_grad():

            def read(batch: "Batch") -> tuple[np.ndarray, np.ndarray]:
                return batch.rows, self._word_scores(queries, batch.rows).double().cpu().numpy()

            batches = queries.batches(self.context.batch_size, TOKENS)
            for rows, found in side_by_side(read, batches):
                scores[rows] = found
        labels = np.array([e.label for e in asked])
        return scores, np.tile(labels, len(queries) // len(asked))

    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> "Iterator[Step]":
        """Yield an epoch's steps: cross-entropy of the label words against each other."""
        import torch
        import torch.nn.functional as F

        from icl.tuning.loop import in_parts

        self._reader = None  # it holds states of the demonstrations under earlier weights
        if self.reads_channel:
            yield from self._channel_steps(train, generator)
            return
        asked = subset(train, self.config.tuning_samples, self.context.seed)
        queries = self._prompts(asked, train, int(generator.integers(2**31)))
        labels = np.array([e.label for e in asked])

        def loss(rows: np.ndarray) -> "Tensor":
            scores = self._word_scores(queries, rows)
            offset = torch.from_numpy(self.offset).to(scores.device, scores.dtype)
            expected = torch.from_numpy(labels[rows % len(labels)]).to(scores.device)
            return F.cross_entropy(scores + offset, expected)

        for rows in queries.epoch(len(asked), self.config.rows, generator):
            yield in_parts(loss, rows, queries, self.module)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities (N, C) after k demonstrations from the training rows."""
        scores, reader = self.query_set(examples).scores(), self.reader()
        self.details = self.demonstrations.details(
            [e.sequence for e in examples], reader.template
        ) | self.describe_answers(scores, ADVICE)
        if channel := self.channel_reader():
            self.details |= channel.details()
        return scores

    @property
    def trainable_parameters(self) -> int:
        """Count the weights that are tuned, an offset per class, and the channel's scale."""
        return super().trainable_parameters + self.reads_channel

    def state(self) -> dict[str, np.ndarray]:
        """Return tuned weights, demonstrations and offset; scale and normalisation."""
        reader = self.channel_reader()
        if reader is None:
            return super().state()
        return super().state() | reader.state() | {"scale": np.array(self._scale)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` returned."""
        self._drawn, self._reader = True, None
        rest = dict(state)
        if self.reads_channel:
            self._scale = float(rest.pop("scale", np.array(1.0)))
            self._normalisation = "sqrt"
            reader = self._channel(self.demonstrations)
            rest = reader.load_state(rest)
            self._normalisation = reader.normalisation
        super().load_state(rest)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter; PEFT has no form for tuned weights, nor for the channel."""
        from icl.tuning.peft_export import save_adapter

        if self.config.adapter == "lora" and not self.reads_channel:
            words, offset = self.verbalizer.words, self.offset.tolist()
            save_adapter(self.module, words, offset, folder / ADAPTER)

    def reader(self) -> "PromptReader | ChannelReader":
        """Return a reader of the weights that the copy has now, kept until the next epoch."""
        from icl.inference.reader import reader_without_vectors
        from icl.tuning.adapters import merge_adapter

        if self._reader is None and self.reads_channel:
            self._reader = self._channel(self.demonstrations, merge_adapter(self.module))
        elif self._reader is None:
            model = merge_adapter(self.module)
            self._reader = reader_without_vectors(
                model, self.verbalizer, self.demonstrations, self.context, self.offset
            )
        return self._reader

    def _channel(
        self, demonstrations: DemonstrationSet, model: "LanguageModel | None" = None
    ) -> "ChannelReader":
        """Return a reader of the channel after demonstrations; by default of what is tuned."""
        from icl.inference.channel import ChannelReader
        from icl.inference.channel_scorer import ChannelScorer
        from icl.tuning.adapters import backbone_of
        from prompts.channel_prompt import ChannelPrompt

        model = backbone_of(self.module) if model is None else model
        nothing = ChannelPrompt(model, len(self.context.labels), 0).requires_grad_(False)
        nothing.rescale(self._scale, self.offset)
        return ChannelReader(
            ChannelScorer(model),
            nothing.to(self.context.device),
            demonstrations,
            self.context,
            self._normalisation,
        )

    def _take(self, reader: "ChannelReader") -> None:
        """Take over the scale and the offsets of a reader."""
        found = reader.details()
        self._scale, self.offset = found["scale"], np.array(found["offset"])

    def _channel_steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> "Iterator[Step]":
        """Yield an epoch's steps: each with demonstrations of its own for all its queries."""
        from icl.tuning.loop import Step

        asked = subset(train, self.config.tuning_samples, self.context.seed)
        views = self.views([e.sequence for e in asked])
        queries = [Example(view, asked[i % len(asked)].label) for i, view in enumerate(views)]
        lengths = EncodedSequences(views, self.max_seq_len)

        def loss(rows: np.ndarray, seed: int) -> "Tensor":
            own = [queries[row] for row in rows]
            reader = self._channel(self._demonstrations_for(own, train, seed))
            return reader.queries(own, "forward").loss(np.arange(len(own)))

        for rows in lengths.epoch(len(asked), self.config.rows, generator):
            seed = int(generator.integers(2**31))
            yield Step(len(rows), partial(loss, rows, seed))

    def _demonstrations_for(
        self, queries: Sequence[Example], train: Sequence[Example], seed: int
    ) -> DemonstrationSet:
        """Return training rows before all of these queries, none of them a relative of one."""
        sequences = [e.sequence for e in queries]
        drawn = DemonstrationSet(
            self.config,
            replace(self.context, seed=seed, queries=sequences),
            lambda: self.max_seq_len,
            ClassTemplate,
        )
        drawn.draw(train, self.verbalizer, max(map(len, sequences)))
        return drawn

    def _word_scores(self, queries: EncodedSequences, rows: np.ndarray) -> "Tensor":
        """Return scores (B, C) of prompts under the present weights, without offset."""
        import torch

        from icl.inference.label_words import word_scores
        from icl.tuning.adapters import backbone_of

        batch = queries.batch(rows).to(self.context.device)
        words = torch.from_numpy(self.verbalizer.ids).to(self.context.device)
        with self.autocast():
            return word_scores(backbone_of(self.module), batch, words)

    def _prompts(
        self, asked: Sequence[Example], train: Sequence[Example], seed: int
    ) -> EncodedSequences:
        """Return tuning prompts on the method's strands, each with demonstrations of its own.

        They come from the training rows, and none is a relative of the query.
        """
        options = replace(self.config, demonstrations="per_query")
        drawn = DemonstrationSet(
            options, replace(self.context, seed=seed), lambda: self.max_seq_len
        )
        sequences = [e.sequence for e in asked]
        drawn.draw(train, self.verbalizer, max(map(len, sequences)))
        template = drawn.template(self.verbalizer)
        before = [drawn.own_ids(sequence, template) for sequence in sequences]
        views = self.views(sequences)
        most = self.max_seq_len - 1 - self.verbalizer.length
        return EncodedSequences(views, most, before=before * (len(views) // len(asked)))
