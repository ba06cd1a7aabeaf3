"""Tuning on k-shot prompts, then asking with k shots (Nguyen et al. 2023, section 4.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.options import option
from backbone.common.streams import stream
from icl.inference.batches import EncodedSequences
from icl.inference.demonstrations import DemonstrationConfig, DemonstrationSet
from icl.inference.label_words import word_scores
from icl.inference.query_set import TOKENS
from icl.inference.reader import PromptReader, reader_without_vectors
from icl.method import Context, method
from icl.tuning.adapters import (
    backbone_of,
    copy_with_adapter,
    lora_config,
    merge_adapter,
    trainable_copy,
)
from icl.tuning.label_word_tuning import ADVICE, LabelWordTuning
from icl.tuning.loop import Step
from icl.tuning.peft_export import ADAPTER, save_adapter
from icl.tuning.tuned_method import TunedConfig, in_parts
from tasks.task import Example, subset


@dataclass
class InstructionTuningConfig(TunedConfig, DemonstrationConfig):
    """What is tuned, on how many prompts, and which demonstrations they have."""

    lr: float = option(3e-4, "peak learning rate", above=0)
    rows: int = option(8, "prompts per training step", least=1)
    tuning_samples: int = option(64, "training rows used as queries in tuning prompts", least=1)
    validation_samples: int = option(
        256, "maximum number of validation rows that choose the epoch", least=1
    )
    adapter: str = option("none", "tune all weights (none) or an adapter", choices=("none", "lora"))
    rank: int = option(8, "rank of each update, with adapter=lora", least=1)
    alpha: float = option(16.0, "an update is scaled by alpha / rank", above=0)


@method(
    "instruction_tuning",
    config=InstructionTuningConfig,
    budget="shots",
    default_budget=2,
    version=2,
)
class InstructionTuning(LabelWordTuning[InstructionTuningConfig]):
    """Weights tuned on k-shot prompts of a few training rows, then asked with k shots."""

    def __init__(self, config: InstructionTuningConfig, context: Context) -> None:
        """Check the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self.tuning_samples = config.tuning_samples
        self._drawn = False
        self._reader: PromptReader | None = None

    def build(self) -> nn.Module:
        """Copy the backbone."""
        model = self.context.load_backbone()
        if self.config.adapter == "lora":
            config = lora_config(self.config.rank, self.config.alpha)
            return copy_with_adapter(model, config, self.context.seed)
        return trainable_copy(model)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse prompts that may not fit: every epoch draws other demonstrations."""
        if self._drawn:
            return  # these rows are measured with the demonstrations that are loaded
        longest = max(len(e.sequence) for e in examples)
        words, most = self.verbalizer.length, self.max_seq_len
        count = (self.shots or 0) * len(self.context.labels)
        template = self.demonstrations.template(self.verbalizer)
        tokens = count * template.strands * (longest + 2 + words) + longest + 1 + words
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
        self._reader = None
        fewer = min(len(val), self.config.validation_samples)
        super().fit(train, subset(val, fewer, self.context.seed))

    def after_tuning(self, val: Sequence[Example]) -> None:
        """Fit the offset again, with the weights of the best epoch."""
        self._reader = None
        super().after_tuning(val)
        self._reader = None

    def start_scores(self, train: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return scores of the tuning prompts of a draw of their own."""
        asked = subset(train, self.config.tuning_samples, self.context.seed)
        draw = stream(self.context.seed, "prompts before tuning")
        queries = self._prompts(asked, train, int(draw.integers(2**31)))
        scores = np.zeros((len(queries), len(self.context.labels)))
        with torch.no_grad():
            for batch in queries.batches(self.context.batch_size, TOKENS):
                scores[batch.rows] = self._word_scores(queries, batch.rows).double().cpu().numpy()
        labels = np.array([e.label for e in asked])
        return scores, np.tile(labels, len(queries) // len(asked))

    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> Iterator[Step]:
        """Yield an epoch's steps: cross-entropy of the label words against each other."""
        self._reader = None  # it holds states of the demonstrations under earlier weights
        asked = subset(train, self.config.tuning_samples, self.context.seed)
        queries = self._prompts(asked, train, int(generator.integers(2**31)))
        labels = np.array([e.label for e in asked])

        def loss(rows: np.ndarray) -> Tensor:
            scores = self._word_scores(queries, rows)
            offset = torch.from_numpy(self.offset).to(scores.device, scores.dtype)
            expected = torch.from_numpy(labels[rows % len(labels)]).to(scores.device)
            return F.cross_entropy(scores + offset, expected)

        for rows in queries.epoch(len(asked), self.config.rows, generator):
            yield in_parts(loss, rows, queries)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities (N, C) after k demonstrations from the training rows."""
        scores = self.query_set(examples).scores()
        self.details = self.demonstrations.details(
            [e.sequence for e in examples], self.reader().template
        ) | self.describe_answers(scores, ADVICE)
        return scores

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over tuned weights, demonstrations and offset."""
        self._drawn, self._reader = True, None
        super().load_state(state)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter; PEFT has no form for tuned weights of the model itself."""
        if self.config.adapter == "lora":
            words, offset = self.verbalizer.words, self.offset.tolist()
            save_adapter(self.module, words, offset, folder / ADAPTER)

    def reader(self) -> PromptReader:
        """Return a reader of the weights that the copy has now, kept until the next epoch."""
        if self._reader is None:
            model = merge_adapter(self.module)
            self._reader = reader_without_vectors(
                model, self.verbalizer, self.demonstrations, self.context, self.offset
            )
        return self._reader

    def _word_scores(self, queries: EncodedSequences, rows: np.ndarray) -> Tensor:
        """Return scores (B, C) of prompts under the present weights, without offset."""
        batch = queries.batch(rows).to(self.context.device)
        words = self.verbalizer.ids.to(self.context.device)
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
