"""Baseline of few_shot: nearest neighbours among the demonstrations, by k-mers."""

from collections.abc import Sequence

import numpy as np

from backbone.sequence.kmers import kmer_frequencies
from icl.baselines.neighbours import Neighbours, NeighboursConfig
from icl.method import method


@method("kmer_knn", config=NeighboursConfig, budget="shots", default_budget=4, version=2)
class KmerKNN(Neighbours):
    """Vote of the demonstrations of few_shot, by cosine of k-mer frequencies."""

    def vectors(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the strand-blind 4-mer frequencies that `chooser=nearest` uses too."""
        return kmer_frequencies(sequences)
