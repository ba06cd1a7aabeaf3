"""The options of tuning, shared by every method that tunes."""

from dataclasses import dataclass

from backbone.common.options import option
from icl.inference.strands import StrandConfig


@dataclass
class TuningConfig:
    """Options of the tuning loop."""

    lr: float = option(0.01, "peak learning rate", above=0)
    epochs: int = option(30, "maximum number of epochs", least=1)
    patience: int = option(
        8, "epochs without improvement in validation loss before stopping", least=1
    )
    rows: int = option(64, "rows per training step", least=1)
    weight_decay: float = option(0.0, "AdamW weight decay", least=0)
    warmup: float = option(0.05, "share of the steps used for warm-up", least=0, below=1)


@dataclass
class TunedConfig(StrandConfig, TuningConfig):
    """How weights of a copy of the backbone are tuned, and which strands are read."""

    epochs: int = option(10, "maximum number of epochs", least=1)
    patience: int = option(3, "epochs without improvement before stopping", least=1)
