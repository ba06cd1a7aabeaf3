"""Baselines: classifiers on a single number of each sequence, its GC content or its length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.sequence.dna import gc_content
from icl.baselines.feature_regression import FeatureRegression
from icl.method import KINDS, MethodConfig, method
from tasks.task import Example


@dataclass
class GCOnlyConfig(MethodConfig):
    """No options."""


@method("gc_only", config=GCOnlyConfig, uses_backbone=False, kinds=KINDS, version=2)
class GCOnly(FeatureRegression[GCOnlyConfig]):
    """Logistic regression on the GC content and its square."""

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return GC content and its square, (N, 2)."""
        gc = np.array([gc_content(e.sequence) for e in examples])
        return np.stack([gc, gc**2], axis=1)


@dataclass
class LengthOnlyConfig(MethodConfig):
    """No options."""


@method("length_only", config=LengthOnlyConfig, uses_backbone=False, kinds=KINDS, version=2)
class LengthOnly(FeatureRegression[LengthOnlyConfig]):
    """Logistic regression on the logarithm of the length and its square."""

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the logarithm of the length and its square, (N, 2).

        They span the log-odds of classes whose lengths are log-normal. If all rows have one length,
        both are constant and only the frequencies of the classes are left.
        """
        log_length = np.log([len(e.sequence) for e in examples])
        return np.stack([log_length, log_length**2], axis=1)
