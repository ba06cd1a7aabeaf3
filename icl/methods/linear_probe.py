"""Linear probe: a linear model on the frozen states, without any prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.sequence.edits import Edit
from icl.baselines.feature_regression import FeatureRegression
from icl.method import KINDS, MethodConfig, method
from tasks.task import Example


@dataclass
class LinearProbeConfig(MethodConfig):
    """No options."""


@method("linear_probe", config=LinearProbeConfig, label_words=False, kinds=KINDS)
class LinearProbe(FeatureRegression[LinearProbeConfig]):
    """Logistic regression on the backbone's mean-pooled frozen states, both strands averaged."""

    def check(self, examples: Sequence[Example]) -> None:
        """Refuse rows that the backbone cannot read whole."""
        from icl.inference.batches import check_lengths

        backbone = self.context.load_backbone()
        check_lengths([e.sequence for e in examples], backbone.config.max_seq_len)

    def scores_of_edits(
        self, sequences: Sequence[str], edits: Sequence[Edit]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Method.scores_of_edits`."""
        from backbone.engine.prefix import PrefixEngine
        from icl.inference.edited_queries import EditedMeanStates, can_share

        model = self.context.load_backbone()
        if not can_share(model, self.context):
            return super().scores_of_edits(sequences, edits)
        found = EditedMeanStates(PrefixEngine(model), sequences, edits, "both").values()
        rows, edited = map(self._model.scores, found)
        return rows, edited

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return mean-pooled states, (N, D)."""
        from icl.inference.embedding import embed_sequences

        return embed_sequences(
            self.context.load_backbone(),
            [e.sequence for e in examples],
            device=self.context.device,
            precision=self.context.precision,
        )
