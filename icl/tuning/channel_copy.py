"""A copy of the backbone under the channel readout: an adapter, and vectors of each class."""

from torch import nn

from backbone.protocol import LanguageModel
from icl.inference.channel import ChannelReader
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.demonstrations import DemonstrationSet
from icl.method import Context
from icl.tuning.adapters import backbone_of
from prompts.channel_prompt import ChannelPrompt


class ChannelCopy(nn.Module):
    """An adapted copy, and what stands before the query for each class; both are tuned."""

    def __init__(self, adapted: nn.Module, classes: int, vectors: int, seed: int) -> None:
        """Draw the vectors of the classes, from which nothing can be told yet.

        Args:
            adapted: The copy of the backbone.
            classes: The number of classes.
            vectors: Vectors of each class.
            seed: Seed of the draw.
        """
        super().__init__()
        self.adapted = adapted
        self.prompt = ChannelPrompt(backbone_of(adapted), classes, vectors, seed=seed)

    def get_base_model(self) -> LanguageModel:
        """Return the copy, the adapter's modules in place."""
        return backbone_of(self.adapted)

    def reader(
        self, demonstrations: DemonstrationSet, context: Context, normalisation: str
    ) -> ChannelReader:
        """Return a reader of the weights and vectors that there are now."""
        scorer = ChannelScorer(self.get_base_model())
        return ChannelReader(scorer, self.prompt, demonstrations, context, normalisation)
