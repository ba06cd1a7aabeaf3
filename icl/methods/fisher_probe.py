"""Fisher probe: the channel readout of small changes of the backbone, fitted in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backbone.common.options import option
from icl.baselines.feature_regression import BackboneRegression
from icl.method import KINDS, MethodConfig, method
from tasks.task import Example


@dataclass
class FisherProbeConfig(MethodConfig):
    """What is read from the backbone."""

    readout: str = option(
        "channel",
        "channel: gradients of the sequence's log-likelihood; both: also the mean-pooled "
        "states, which linear_probe reads",
        choices=("channel", "both"),
    )


@method("fisher_probe", config=FisherProbeConfig, label_words=False, kinds=KINDS)
class FisherProbe(BackboneRegression[FisherProbeConfig]):
    """Logistic regression on gradients of the likelihood with respect to parts of the backbone.

    This is the channel readout in the limit where a class changes the backbone only slightly. Up to
    a factor, the weights are the difference between the changes of two classes: to the embeddings
    of letters, to their prediction, and to the inputs of the feed-forward layers.
    """

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return Fisher scores, followed by mean states if these are read too, (N, F)."""
        from icl.inference.embedding import embed_sequences
        from icl.inference.fisher_scores import fisher_scores

        context = self.context
        read = [fisher_scores, *([embed_sequences] if self.config.readout == "both" else [])]
        found = [
            features(
                context.load_backbone(),
                [e.sequence for e in examples],
                device=context.device,
                precision=context.precision,
                store=context.store,
            )
            for features in read
        ]
        return np.concatenate(found, axis=1)
