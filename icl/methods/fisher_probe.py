"""Fisher probe: the channel readout of small changes of the backbone, fitted in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icl.baselines.feature_regression import BackboneRegression
from icl.method import KINDS, MethodConfig, method
from tasks.task import Example


@dataclass
class FisherProbeConfig(MethodConfig):
    """No options."""


@method("fisher_probe", config=FisherProbeConfig, label_words=False, kinds=KINDS)
class FisherProbe(BackboneRegression[FisherProbeConfig]):
    """Logistic regression on how each sequence's likelihood changes with the backbone's parts.

    The limit of prompts under the channel readout that change hidden states only a little: the
    weights are, up to a factor, the difference between the changes that two classes make to how
    letters are embedded and predicted, and to the inputs of the feed-forward maps.
    """

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return Fisher scores, (N, F)."""
        from icl.inference.fisher_scores import fisher_scores

        return fisher_scores(
            self.context.load_backbone(),
            [e.sequence for e in examples],
            device=self.context.device,
            precision=self.context.precision,
            store=self.context.store,
        )
