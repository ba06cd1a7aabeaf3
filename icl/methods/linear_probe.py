"""Linear probe: a linear model on the frozen states, without any prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backbone.sequence.edits import Edit
from icl.baselines.feature_regression import BackboneRegression
from icl.method import KINDS, MethodConfig, method
from tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class LinearProbeConfig(MethodConfig):
    """No options."""


@method("linear_probe", config=LinearProbeConfig, label_words=False, kinds=KINDS, version=2)
class LinearProbe(BackboneRegression[LinearProbeConfig]):
    """Logistic regression on the backbone's mean-pooled frozen states, both strands averaged."""

    def scores_of_edits(
        self, sequences: Sequence[str], edits: Sequence[Edit]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Method.scores_of_edits`."""
        from backbone.models import branch_engine, context_engine
        from icl.inference.edited_queries import EditedMeanStates, can_share

        model = self.context.load_backbone()
        if not can_share(model, self.context):
            return super().scores_of_edits(sequences, edits)
        engine = branch_engine(context_engine(model))
        found = EditedMeanStates(engine, sequences, edits, "both").values()
        rows, edited = map(self._model.scores, found)
        return rows, edited

    def relaxed_scores(self, letters: "Tensor") -> "Tensor":
        """See `Method.relaxed_scores`."""
        import torch

        from icl.inference.reader import relaxed_embeddings
        from icl.inference.strands import over_strands

        backbone, model = self.context.load_backbone(), self._model

        def pooled(shares: torch.Tensor) -> torch.Tensor:
            return backbone.encode(relaxed_embeddings(backbone, shares)[None])[0].mean(dim=0)

        states = over_strands(pooled, letters.to(self.context.device), "both").double().cpu()
        mean, scale, weight, bias = map(torch.from_numpy, model.state().values())
        return weight @ ((states - mean) / scale) + bias

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return mean-pooled states, (N, D)."""
        from icl.inference.embedding import embed_sequences

        return embed_sequences(
            self.context.load_backbone(),
            [e.sequence for e in examples],
            device=self.context.device,
            precision=self.context.precision,
            store=self.context.store,
        )
