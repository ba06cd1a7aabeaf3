"""Learned rescaling of activations (Liu et al. 2022, arXiv 2205.05638)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.common.options import option
from icl.method import KINDS, method
from icl.tuning.adapter_method import AdapterConfig, AdapterMethod

if TYPE_CHECKING:
    from peft import IA3Config


@dataclass
class Ia3Options(AdapterConfig):
    """How the scales are tuned."""

    lr: float = option(1e-2, "peak learning rate", above=0)


@method("ia3", config=Ia3Options, kinds=KINDS, version=2)
class Ia3(AdapterMethod[Ia3Options]):
    """IA3 scales of gates, values and the MLP's inner activations; answers with label words."""

    def adapter(self) -> "IA3Config":
        """Return IA3, one scale per activation."""
        from icl.tuning.adapters import ia3_config

        return ia3_config(self.context.load_backbone().adapter_targets)
