"""All weights and a linear head: the downstream setting of HyenaDNA (Nguyen et al. 2023, 4.2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.model import HyenaDNA
from icl.adapters import trainable_copy
from icl.in_context import TOKENS
from icl.methods.base import method
from icl.queries import Batch, Queries, both_strands, check_lengths
from icl.tuned import TunedConfig, TunedMethod, cut_steps, in_parts
from tasks.task import Example


@dataclass
class FineTuneConfig(TunedConfig):
    """How backbone and head are tuned."""

    lr: float = field(default=6e-4, metadata={"help": "peak learning rate, as published"})
    weight_decay: float = field(default=0.1, metadata={"help": "of AdamW, as published"})


class Classifier(nn.Module):
    """Mean of the final hidden states over a row's own positions, then a linear head."""

    def __init__(self, model: HyenaDNA, classes: int) -> None:
        """Starts with a head that says nothing: its weights are 0, so no draw is needed.

        Args:
            model: a copy, whose weights all move; its language-model head is not used.
            classes: the number of classes.
        """
        super().__init__()
        self.backbone = model
        self.head = nn.Linear(model.config.d_model, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Returns logits (B, C)."""
        hidden = self.backbone.encode(self.backbone.embed(batch.ids))
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        return self.head(mean).float()


@method("fine_tune", config=FineTuneConfig, label_words=False)
class FineTune(TunedMethod[FineTuneConfig]):
    """All weights tuned under a linear head on mean-pooled states."""

    def build(self) -> nn.Module:
        """Copies the backbone and puts a head on it."""
        return Classifier(trainable_copy(self.context.load_backbone()), len(self.context.labels))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that the backbone cannot read whole."""
        check_lengths([e.sequence for e in examples], self._most)

    def steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> Iterator[Callable[[], Tensor]]:
        """Losses of an epoch's steps: cross-entropy of the classes."""
        queries = self._queries(train)
        labels = np.array([e.label for e in train])

        def loss(rows: np.ndarray) -> Tensor:
            with self.autocast():
                scores = self.module(queries.batch(rows).to(self.context.device))
            wanted = torch.from_numpy(labels[rows % len(labels)]).to(scores.device)
            return F.cross_entropy(scores, wanted)

        for rows in cut_steps(queries, len(train), self.config.rows, generator):
            yield in_parts(loss, rows, queries)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities over the classes, (N, C), the strands' logits averaged."""
        queries = self._queries(examples)
        logits = np.zeros((len(queries), len(self.context.labels)))
        with torch.no_grad(), self.autocast():
            for batch in queries.batches(self.context.batch_size, tokens=TOKENS):
                found = self.module(batch.to(self.context.device))
                logits[batch.rows] = found.double().cpu().numpy()
        averaged = logits.reshape(-1, len(examples), logits.shape[1]).mean(axis=0)
        return torch.from_numpy(averaged).log_softmax(-1).numpy()

    @property
    def _most(self) -> int:
        return self.context.load_backbone().config.max_seq_len

    def _queries(self, examples: Sequence[Example]) -> Queries:
        sequences = [e.sequence for e in examples]
        both = both_strands(sequences) if self.config.strands == "both" else sequences
        return Queries(both, self._most)
