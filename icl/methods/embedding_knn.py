"""Baseline of few_shot: nearest neighbours among the demonstrations, by frozen states."""

from collections.abc import Sequence

import numpy as np

from icl.baselines.neighbours import Neighbours, NeighboursConfig
from icl.method import method


@method("embedding_knn", config=NeighboursConfig, budget="shots", default_budget=4, version=3)
class EmbeddingKNN(Neighbours):
    """Vote of the demonstrations of few_shot, by cosine of mean-pooled states."""

    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the mean-pooled states that `chooser=nearest_embedding` uses too."""
        from icl.inference.embedding import embed_sequences

        return embed_sequences(
            self.context.load_backbone(),
            sequences,
            device=self.context.device,
            precision=self.context.precision,
            store=self.context.store,
        )
