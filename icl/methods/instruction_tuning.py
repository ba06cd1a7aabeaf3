"""Tuning on k-shot prompts, then asking with k shots (Nguyen et al. 2023, section 4.3)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.batches import EncodedSequences, both_strands
from icl.inference.demonstrations import PREFIX, DemonstrationConfig, DemonstrationSet
from icl.inference.label_words import word_scores
from icl.inference.reader import PromptReader, QuerySet
from icl.method import Context, method
from icl.tuning.adapter_method import reading
from icl.tuning.adapters import (
    backbone_of,
    copy_with_adapter,
    lora_config,
    merge_adapter,
    trainable_copy,
)
from icl.tuning.peft_export import ADAPTER, save_adapter
from icl.tuning.tuned_method import TunedConfig, TunedMethod, cut_steps, in_parts
from prompts.verbalizer import verbalizer
from tasks.task import Example, subset


@dataclass
class InstructionTuningConfig(TunedConfig, DemonstrationConfig):
    """What is tuned on how many prompts, and what they show."""

    lr: float = option(3e-4, "peak learning rate", above=0)
    rows: int = option(8, "prompts of a training step", least=1)
    tuning_samples: int = option(64, "training rows that are asked in tuning prompts", least=1)
    validation_samples: int = option(
        256, "validation rows, at most, that choose the epoch", least=1
    )
    adapter: str = option(
        "none", "what is tuned: all weights (none) or an adapter", choices=("none", "lora")
    )
    rank: int = option(8, "rank of each update, with adapter=lora", least=1)
    alpha: float = option(16.0, "an update is scaled by alpha / rank", above=0)


@method("instruction_tuning", config=InstructionTuningConfig, budget="shots", default_budget=2)
class InstructionTuning(TunedMethod[InstructionTuningConfig]):
    """Weights tuned on k-shot prompts of a few training rows, then asked with k shots."""

    def __init__(self, config: InstructionTuningConfig, context: Context) -> None:
        """Checks the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        self.verbalizer = verbalizer(len(context.labels), context.label_words)
        self.tuning_samples = config.tuning_samples
        self._shown = DemonstrationSet(config, context, self._max_seq_len)
        self._drawn = False
        self._reader: PromptReader | None = None

    def build(self) -> nn.Module:
        """Copies the backbone."""
        model = self.context.load_backbone()
        if self.config.adapter == "lora":
            config = lora_config(self.config.rank, self.config.alpha)
            return copy_with_adapter(model, config, self.context.seed)
        return trainable_copy(model)

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses prompts that may not fit: every epoch draws other demonstrations."""
        if self._drawn:
            return  # the rows meet the demonstrations that stand already, and are measured there
        longest = max(len(e.sequence) for e in examples)
        words, most = self.verbalizer.length, self._max_seq_len()
        count = (self.shots or 0) * len(self.context.labels)
        template = self._shown.template(self.verbalizer)
        tokens = count * template.strands * (longest + 2 + words) + longest + 1 + words
        if tokens > most and (self.config.policy == "refuse" or not count):
            raise InputError(
                f"{count} demonstrations and a query of {longest} nucleotides take up to {tokens} "
                f"tokens, which exceed the backbone's max_seq_len of {most}; give fewer shots, "
                f"method.policy=drop or trim, or a backbone with a longer context"
            )

    def prepare(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Draws the demonstrations of the evaluation."""
        if self.config.tuning_samples > len(train):
            raise InputError(
                f"method.tuning_samples={self.config.tuning_samples}: there are {len(train)} "
                f"training rows"
            )
        queries = [*(e.sequence for e in val), *self.context.queries]
        self._shown.draw(train, self.verbalizer, longest=max(map(len, queries)))
        self._drawn = True

    def fit(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Tunes on prompts of `tuning_samples` rows; k-shot loss on validation chooses."""
        self.prepare(train, val)
        fewer = min(len(val), self.config.validation_samples)
        super().fit(train, subset(val, fewer, self.context.seed))
        self._reader = None  # the best epoch's weights are back

    def steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> Iterator[Callable[[], Tensor]]:
        """Losses of an epoch's steps: cross-entropy of the label words against each other."""
        self._reader = None  # it keeps what the weights of before made of the demonstrations
        asked = subset(train, self.config.tuning_samples, self.context.seed)
        queries = self._prompts(asked, train, int(generator.integers(2**31)))
        labels = np.array([e.label for e in asked])
        words = self.verbalizer.ids.to(self.context.device)

        def loss(rows: np.ndarray) -> Tensor:
            batch = queries.batch(rows).to(self.context.device)
            with self.autocast():
                scores = word_scores(backbone_of(self.module), batch, words)
            wanted = torch.from_numpy(labels[rows % len(labels)]).to(scores.device)
            return F.cross_entropy(scores, wanted)

        for rows in cut_steps(queries, len(asked), self.config.rows, generator):
            yield in_parts(loss, rows, queries)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C), k demonstrations from train in front."""
        reader = self._reading()
        self.details = self._shown.details([e.sequence for e in examples], reader.template)
        return QuerySet(reader, examples, self.config.strands).scores()

    def likeliest_tokens(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Method.likeliest_tokens`; forward strand."""
        if self.verbalizer.length > 1:
            return None
        _, tokens = QuerySet(self._reading(), examples, "forward").answers()
        return tokens, self.verbalizer.ids[:, 0].numpy()

    def state(self) -> dict[str, np.ndarray]:
        """The tuned weights and the demonstrations."""
        return super().state() | self._shown.state()

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Takes over tuned weights and demonstrations."""
        self._shown.load_state(state, self.verbalizer)
        self._drawn, self._reader = True, None
        super().load_state({k: v for k, v in state.items() if not k.startswith(PREFIX)})

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapter; PEFT has no form for weights that moved themselves."""
        if self.config.adapter == "lora":
            save_adapter(self.module, self.verbalizer.words, folder / ADAPTER)

    def _max_seq_len(self) -> int:
        return self.context.load_backbone().config.max_seq_len

    def _prompts(
        self, asked: Sequence[Example], train: Sequence[Example], seed: int
    ) -> EncodedSequences:
        """Tuning prompts on both strands, each with demonstrations drawn for it alone.

        They come from the training rows, and none overlaps the row that is asked.
        """
        options = replace(self.config, demonstrations="per_query")
        shown = DemonstrationSet(options, replace(self.context, seed=seed), self._max_seq_len)
        longest = max(len(e.sequence) for e in asked)
        shown.draw(train, self.verbalizer, longest)
        template = shown.template(self.verbalizer)
        sequences = [e.sequence for e in asked]
        before = [shown.own(sequence, template) for sequence in sequences]
        strands = 2 if self.config.strands == "both" else 1
        both = both_strands(sequences) if strands == 2 else sequences
        most = self._max_seq_len() - 1 - self.verbalizer.length
        return EncodedSequences(both, most, before=before * strands)

    def _reading(self) -> PromptReader:
        """A reader of the weights that the copy has now, which the demonstrations are kept for.

        It stands until the next epoch begins.
        """
        if self._reader is None:
            model = merge_adapter(self.module)
            self._reader = reading(model, self.verbalizer, self._shown, self.context)
        return self._reader
