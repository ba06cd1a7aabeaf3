"""All weights and a linear head: the downstream setting of HyenaDNA (Nguyen et al. 2023, 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.options import option
from icl.inference.batches import check_lengths
from icl.method import KINDS, method
from icl.tuning.config import TunedConfig
from icl.tuning.tuned_method import TunedMethod
from tasks.task import Example

if TYPE_CHECKING:
    from torch import nn

    from icl.tuning.loop import Step


@dataclass
class FineTuneConfig(TunedConfig):
    """How backbone and head are tuned."""

    lr: float = option(6e-4, "peak learning rate, as published", above=0)
    weight_decay: float = option(0.1, "AdamW weight decay, as published", least=0)


@method("fine_tune", config=FineTuneConfig, label_words=False, kinds=KINDS, version=2)
class FineTune(TunedMethod[FineTuneConfig]):
    """All weights tuned under a linear head on mean-pooled states."""

    def build(self) -> "nn.Module":
        """Copy the backbone and put a head on it."""
        from icl.tuning.adapters import trainable_copy
        from icl.tuning.pooled_head import PooledHead

        return PooledHead(trainable_copy(self.context.load_backbone()), len(self.context.labels))

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that the backbone cannot read whole."""
        most = self.context.load_backbone().config.max_seq_len
        check_lengths([e.sequence for e in examples], most)

    def steps(self, train: Sequence[Example], generator: np.random.Generator) -> "Iterator[Step]":
        """Yield an epoch's steps; see `icl.tuning.pooled_head.loss_of`."""
        from icl.tuning.pooled_head import head_steps

        return head_steps(self, train, generator)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return scores averaged over the strands; see `Method.scores`."""
        from icl.tuning.pooled_head import head_scores

        return head_scores(self, examples)
