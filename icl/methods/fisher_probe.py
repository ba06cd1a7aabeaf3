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
    """What is read of the backbone."""

    readout: str = option(
        "channel",
        "channel: gradients of the sequence's log-likelihood; both: also the mean-pooled "
        "states, which linear_probe reads",
        choices=("channel", "both"),
    )


@method("fisher_probe", config=FisherProbeConfig, label_words=False, kinds=KINDS)
class FisherProbe(BackboneRegression[FisherProbeConfig]):
    """Logistic regression on how each sequence's likelihood changes with the backbone's parts.

    The limit of prompts under the channel readout that change hidden states only a little: the
    weights are, up to a factor, the difference between the changes that two classes make to how
    letters are embedded and predicted, and to the inputs of the feed-forward maps.
    """

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Return Fisher scores, and after them mean states if they are read too, (N, F)."""
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
