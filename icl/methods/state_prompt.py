"""Learned offsets of the backbone's state: the counterpart of prompts in a convolutional model.

Source: State-offset Tuning (Kang et al. 2025, arXiv 2503.03499), for recurrent models. There an
offset is added to the recurrent state; Hyena's counterpart is the output of the long convolution.
"""

from dataclasses import dataclass

from backbone.common.options import option
from icl.method import method
from icl.methods.soft_prompt import PromptTuning, SoftPromptConfig


@dataclass
class StatePromptConfig(SoftPromptConfig):
    """How the offsets are tuned, and how the answer is read."""

    readout: str = option(
        "channel",
        "channel: likelihood of the query with the offsets of each class; direct, last or "
        "mean: label words, with one set of offsets",
        choices=("channel", "direct", "last", "mean"),
    )


@method(
    "state_prompt",
    config=StatePromptConfig,
    budget="prompt_tokens",
    version=2,
    default_budget=0,
    extra_budgets=("shots",),
)
class StatePrompt(PromptTuning):
    """Offsets of hidden channels, one set per class, at every position, and prompt vectors.

    For every layer and class, a vector of D numbers is added to the output of the long convolution
    before the gate, at every position of context and query. With `prompt_tokens`, each class also
    has that many vectors in front. The offsets start at 0. Without the channel readout there is
    one set of offsets for all classes, and the answer is a label word.
    """

    state_offsets = True
