"""In-context learning: labelled rows before the query, nothing tuned.

Brown et al. 2020 (arXiv 2005.14165) for language; the demonstrations come from the training rows.
"""

from dataclasses import dataclass

from backbone.common.errors import InputError
from icl.inference.channel import ChannelReader, ChannelScorer, ReadoutConfig
from icl.inference.demonstrations import DemonstrationConfig
from icl.inference.reader import PromptReader
from icl.method import Context, method
from icl.methods.zero_shot import LabelWords, ZeroShot, ZeroShotConfig
from prompts.channel_prompt import ChannelPrompt


@dataclass
class FewShotConfig(ZeroShotConfig, DemonstrationConfig, ReadoutConfig):
    """Which demonstrations precede the query, and how the answer is read and calibrated."""


@method("few_shot", config=FewShotConfig, budget="shots", default_budget=4, version=2)
class FewShot(ZeroShot):
    """Demonstrations with their label words, then the query; nothing is tuned.

    Learned is an offset per class, by default from null queries after the same demonstrations. With
    `readout=channel` the demonstrations of one class at a time stand before the query, without
    label words, and the class whose demonstrations make the query likeliest is the answer.
    """

    config: FewShotConfig

    def __init__(self, config: FewShotConfig, context: Context) -> None:
        """Check the options; `prepare` draws the demonstrations."""
        super().__init__(config, context)
        if self.reads_channel and config.words_used != "given":
            raise InputError("method.words_used is about label words: readout=channel has none")
        empty = config.calibration == "contextual" and config.nulls == "empty"
        if empty and self.demonstrations.per_query:
            raise InputError(
                "method.nulls=empty leaves nothing to choose demonstrations for: give "
                "method.nulls=dinucleotide or method.demonstrations=fixed"
            )

    @property
    def reads_channel(self) -> bool:
        """Whether the query is read behind the demonstrations of each class."""
        return self.config.readout == "channel"

    def _reader(self, words: LabelWords) -> PromptReader | ChannelReader:
        if not self.reads_channel:
            return super()._reader(words)
        model, classes = self.context.load_backbone(), len(self.context.labels)
        nothing = ChannelPrompt(model, classes, 0).requires_grad_(False)
        return ChannelReader(
            ChannelScorer(model),
            nothing.to(self.context.device),
            self.demonstrations,
            self.context,
            self.config.normalisation,
        )
