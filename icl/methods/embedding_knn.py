"""What the demonstrations say to a reader of the backbone's frozen states."""

from collections.abc import Sequence

import numpy as np

from icl.baselines.neighbours import Neighbours, NeighboursConfig
from icl.inference.embedding import embed_sequences
from icl.method import method


@method("embedding_knn", config=NeighboursConfig, budget="shots", default_budget=4)
class EmbeddingKNN(Neighbours):
    """Vote of the demonstrations that few_shot would show, by cosine of mean-pooled states."""

    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """Mean-pooled states of both strands, by which `chooser=nearest_embedding` goes too."""
        return embed_sequences(
            self.context.load_backbone(),
            sequences,
            device=self.context.device,
            precision=self.context.precision,
        )
