"""Learned vectors in every layer (Li and Liang 2021; Liu et al. 2022)."""

from icl.method import method
from icl.methods.soft_prompt import PromptTuning, SoftPromptConfig


@method(
    "deep_prompt",
    config=SoftPromptConfig,
    budget="prompt_tokens",
    extra_budgets=("shots",),
    version=4,
)
class DeepPrompt(PromptTuning):
    """Learned vectors at the prompt's positions in every layer; starts as a soft prompt."""

    deep = True
