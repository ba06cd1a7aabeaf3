"""What the demonstrations say to a reader of k-mers."""

from collections.abc import Sequence

import numpy as np

from backbone.sequence.kmers import kmer_frequencies
from icl.baselines.neighbours import Neighbours, NeighboursConfig
from icl.method import method


@method("kmer_knn", config=NeighboursConfig, budget="shots", default_budget=4)
class KmerKNN(Neighbours):
    """Vote of the demonstrations that few_shot would show, by cosine of k-mer frequencies."""

    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """Shares of the 4-mers of both strands, by which `chooser=nearest` goes too."""
        return kmer_frequencies(sequences)
