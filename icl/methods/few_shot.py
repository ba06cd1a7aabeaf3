"""In-context learning: labelled rows before the query, nothing tuned.

Brown et al. 2020 (arXiv 2005.14165) for language; the demonstrations come from the training rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import InputError
from backbone.common.options import option
from icl.inference.demonstrations import DemonstrationConfig
from icl.inference.readout import ReadoutConfig
from icl.method import Context, method
from icl.methods.zero_shot import LabelWords, ZeroShot, ZeroShotConfig
from tasks.task import Example

if TYPE_CHECKING:
    from icl.inference.likelihood import LikelihoodReader
    from icl.inference.reader import PromptReader

UNLIMITED = 1 << 62
"""Tokens, where the backbone's context limits nothing."""


@dataclass
class FewShotConfig(ZeroShotConfig, DemonstrationConfig, ReadoutConfig):
    """Which demonstrations precede the query, and how the answer is read and calibrated."""

    readout: str = option(
        "direct",
        "direct: likelihood of the label words after the query; channel: likelihood of the "
        "query after each class's demonstrations, best with backbone=bundled-icl; memory: "
        "likelihood of the query given the states of each class's demonstrations, best with "
        "backbone=bundled",
        choices=("direct", "channel", "memory"),
    )
    bandwidth: float = option(
        0.1,
        "readout=memory: the narrowest bandwidth, which sets how dissimilar a state may be "
        "and still count",
        above=0,
    )
    levels: int = option(
        3, "readout=memory: number of interpolated bandwidths, each twice the one before", least=1
    )
    prior: float = option(
        10.0, "readout=memory: weight of the prediction of a wider bandwidth, in states", above=0
    )

    @property
    def unused(self) -> tuple[str, ...]:
        """The options of the memory, for the other readouts."""
        return () if self.readout == "memory" else ("bandwidth", "levels", "prior")

    @property
    def suited_backbone(self) -> str | None:
        """The backbone trained on related windows, if demonstrations precede the query."""
        return "bundled-icl" if self.readout == "channel" else None


@method("few_shot", config=FewShotConfig, budget="shots", default_budget=4, version=2)
class FewShot(ZeroShot):
    """Demonstrations with their label words, then the query; nothing is tuned.

    Learns an offset per class, by default from null queries after the same demonstrations. With
    `readout=channel` the demonstrations of one class at a time stand before the query, without
    label words, and the class after whose demonstrations the query is most likely is the answer.
    With `readout=memory`, the states of the demonstrations are stored in a memory, in which the
    states of the query are looked up; see `icl.inference.memory`.
    """

    config: FewShotConfig

    def __init__(self, config: FewShotConfig, context: Context) -> None:
        """Check the options; `prepare` draws the demonstrations."""
        super().__init__(config, context)
        if self.reads_channel and config.words_used != "given":
            raise InputError(
                f"method.words_used is about label words: readout={config.readout} has none"
            )
        empty = config.calibration == "contextual" and config.nulls == "empty"
        if empty and self.demonstrations.per_query:
            raise InputError(
                "method.nulls=empty leaves nothing to choose demonstrations for: give "
                "method.nulls=dinucleotide or method.demonstrations=fixed"
            )

    @property
    def reads_channel(self) -> bool:
        """Whether the likelihood of the query is read, given the demonstrations of each class."""
        return self.config.readout != "direct"

    @property
    def reads_memory(self) -> bool:
        """Whether demonstrations are kept in a memory instead of preceding the query."""
        return self.config.readout == "memory"

    @property
    def needs_separator(self) -> bool:
        """Not for a memory, whose demonstrations stand alone."""
        return not self.reads_memory

    @property
    def shares_edits(self) -> bool:
        """Not from a memory, which is looked up for whole sequences."""
        return not self.reads_memory and super().shares_edits

    @property
    def demonstration_tokens(self) -> int:
        """Tokens for demonstrations and a query; a memory holds any number."""
        return UNLIMITED if self.reads_memory else super().demonstration_tokens

    def _reader(self, words: LabelWords) -> "PromptReader | LikelihoodReader":
        if not self.reads_channel:
            return super()._reader(words)
        from icl.inference.channel import ChannelReader
        from icl.inference.channel_scorer import ChannelScorer
        from icl.inference.memory import Interpolation, MemoryReader
        from prompts.channel_prompt import ChannelPrompt

        model, classes = self.context.load_backbone(), len(self.context.labels)
        nothing = ChannelPrompt(model, classes, 0).requires_grad_(False).to(self.context.device)
        scorer, normalisation = ChannelScorer(model), self.config.normalisation
        if not self.reads_memory:
            return ChannelReader(scorer, nothing, self.demonstrations, self.context, normalisation)
        return MemoryReader(
            scorer,
            nothing,
            self.demonstrations,
            self.context,
            normalisation,
            interpolation=Interpolation(
                self.config.bandwidth, self.config.levels, self.config.prior
            ),
        )

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Return log-probabilities over the classes, calibrated, (N, C)."""
        scores = super().scores(examples)
        if reader := self.likelihood_reader():
            fitted = {"scale": self._fitted().scale, "offset": self._fitted().offset.tolist()}
            self.details |= reader.details() | fitted
        return scores

    @property
    def trainable_parameters(self) -> int:
        """Count the calibration's offsets, one per class, and the scale where it is fitted."""
        scaled = self.config.calibration == "offset" and self.likelihood_reader() is not None
        return super().trainable_parameters + scaled

    def state(self) -> dict[str, np.ndarray]:
        """Return the demonstrations, words and offset; normalisation and scale of likelihoods."""
        reader = self.likelihood_reader()
        if reader is None:
            return super().state()
        return super().state() | reader.state() | {"scale": np.array(self._fitted().scale)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `state` returned."""
        own = dict(state)
        names = ("normalisation", "scale")
        found: dict[str, np.ndarray] = {name: own.pop(name) for name in names if name in own}
        super().load_state(own)
        if reader := self.likelihood_reader():
            scale = np.array(reader.load_state(found).get("scale", 1.0))
            if scale.shape != ():
                raise InputError("the saved scale is no number; run again")
            self._fitted().scale = float(scale)
        elif found:
            raise InputError(f"the saved run has {', '.join(found)}, which few_shot does not read")
