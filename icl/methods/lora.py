"""Low-rank updates of frozen weights (Hu et al. 2022, arXiv 2106.09685)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.common.options import option
from icl.method import KINDS, method
from icl.tuning.adapter_method import AdapterConfig, AdapterMethod

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass
class LoraOptions(AdapterConfig):
    """The adapter's size, and how it is tuned."""

    lr: float = option(3e-3, "peak learning rate", above=0)
    rank: int = option(8, "rank of each update", least=1)
    alpha: float = option(16.0, "updates are scaled by alpha / rank", above=0)


@method("lora", config=LoraOptions, kinds=KINDS, version=2)
class Lora(AdapterMethod[LoraOptions]):
    """LoRA adapters on every linear layer of a block; answers with label words."""

    def adapter(self) -> "LoraConfig":
        """Return LoRA of the run's rank."""
        from icl.tuning.adapters import lora_config

        targets = self.context.load_backbone().adapter_targets
        return lora_config(targets, self.config.rank, self.config.alpha)
