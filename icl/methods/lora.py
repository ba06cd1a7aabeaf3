"""Low-rank updates of frozen weights (Hu et al. 2022, arXiv 2106.09685)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backbone.common.errors import InputError
from icl.method import KINDS, Context, method
from icl.tuning.adapter_method import AdapterMethod
from icl.tuning.adapters import lora_config
from icl.tuning.tuned_method import TunedConfig

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass
class LoraOptions(TunedConfig):
    """The adapter's size, and how it is tuned."""

    lr: float = field(default=3e-3, metadata={"help": "peak learning rate"})
    rank: int = field(default=8, metadata={"help": "rank of each update"})
    alpha: float = field(default=16.0, metadata={"help": "an update is scaled by alpha / rank"})


@method("lora", config=LoraOptions, kinds=KINDS)
class Lora(AdapterMethod[LoraOptions]):
    """LoRA on every linear map of a block; label words answer behind the query."""

    def __init__(self, config: LoraOptions, context: Context) -> None:
        """Checks the options; the backbone is copied when it is needed."""
        super().__init__(config, context)
        if config.rank < 1:
            raise InputError(f"method.rank={config.rank}: must be 1 or more")

    def adapter(self) -> "LoraConfig":
        """LoRA of the run's rank."""
        return lora_config(self.config.rank, self.config.alpha)
