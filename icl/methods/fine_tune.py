"""All weights and a linear head: the downstream setting of HyenaDNA (Nguyen et al. 2023, 4.2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from backbone.errors import InputError
from icl.adapters import trainable_copy
from icl.embedding import FINAL_NORM, embed
from icl.headed import Headed, headed_scores, headed_steps
from icl.linear_fits import choose_linear
from icl.methods.base import KINDS, Context, method
from icl.queries import check_lengths
from icl.tuned import TunedConfig, TunedMethod
from tasks.task import Example, truth

HEADS = ("zero", "probe")


@dataclass
class FineTuneConfig(TunedConfig):
    """How backbone and head are tuned."""

    head: str = field(
        default="zero",
        metadata={"help": "how the head starts: zero, or probe: as the linear probe has it"},
    )
    lr: float = field(default=6e-4, metadata={"help": "peak learning rate, as published"})
    weight_decay: float = field(default=0.1, metadata={"help": "of AdamW, as published"})


@method("fine_tune", config=FineTuneConfig, label_words=False, kinds=KINDS)
class FineTune(TunedMethod[FineTuneConfig]):
    """All weights tuned under a linear head on mean-pooled states.

    `head=probe` starts from the linear probe (Kumar et al. 2022, arXiv 2202.10054): a head that
    begins at nothing bends good features before it has learned to read them.
    """

    def __init__(self, config: FineTuneConfig, context: Context) -> None:
        """Checks the options."""
        super().__init__(config, context)
        if config.head not in HEADS:
            raise InputError(f"method.head={config.head}: must be one of {', '.join(HEADS)}")

    def build(self) -> nn.Module:
        """Copies the backbone and puts a head on it."""
        return Headed(trainable_copy(self.context.load_backbone()), len(self.context.labels))

    def begin(self, train: Sequence[Example], val: Sequence[Example]) -> None:
        """Puts the head where the linear probe would end, if it is to start there."""
        if self.config.head == "zero":
            return
        chosen = choose_linear(
            self.context.kind,
            (self._states(train), truth(train)),
            (self._states(val), truth(val)),
            n_outputs=len(self.context.labels),
            seed=self.context.seed,
        )
        # On the states as they are: the probe's are standardised, and a regression's head speaks
        # in units of its training rows.
        mean, unit = self.unit
        weight = chosen.model.weight / chosen.model.scale
        bias = chosen.model.bias - weight @ chosen.model.mean - mean
        module = self.module
        assert isinstance(module, Headed)
        with torch.no_grad():
            module.head.weight.copy_(torch.from_numpy(weight / unit))
            module.head.bias.copy_(torch.from_numpy(bias / unit))

    def _states(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean-pooled states of the frozen backbone, of the strands that are read, (N, D)."""
        found = embed(
            self.context.load_backbone(),
            [e.sequence for e in examples],
            [FINAL_NORM],
            strands="both" if self.config.strands == "both" else "forward",
            device=self.context.device,
            precision=self.context.precision,
        )
        return found[FINAL_NORM]

    def check(self, examples: Sequence[Example]) -> None:
        """Refuses rows that the backbone cannot read whole."""
        most = self.context.load_backbone().config.max_seq_len
        check_lengths([e.sequence for e in examples], most)

    def steps(
        self, train: Sequence[Example], generator: np.random.Generator
    ) -> Iterator[Callable[[], Tensor]]:
        """Losses of an epoch's steps; see `icl.headed.loss_of`."""
        return headed_steps(self, train, generator)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """See `Method.scores`; the strands' outputs are averaged."""
        return headed_scores(self, examples)
