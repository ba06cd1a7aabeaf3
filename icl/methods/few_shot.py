"""In-context learning: labelled rows before the query, nothing tuned.

Brown et al. 2020 (arXiv 2005.14165) for language; the demonstrations come from the training rows.
"""

from dataclasses import dataclass

from backbone.common.errors import InputError
from icl.inference.demonstrations import DemonstrationConfig
from icl.method import Context, method
from icl.methods.zero_shot import ZeroShot, ZeroShotConfig


@dataclass
class FewShotConfig(ZeroShotConfig, DemonstrationConfig):
    """Which demonstrations stand before the query, and how the answer is read and calibrated."""


@method("few_shot", config=FewShotConfig, budget="shots", default_budget=4, version=2)
class FewShot(ZeroShot):
    """Demonstrations with their label words, then the query; nothing is tuned.

    Learned is an offset per class, by default from null queries after the same demonstrations.
    """

    config: FewShotConfig

    def __init__(self, config: FewShotConfig, context: Context) -> None:
        """Check the options; `prepare` draws the demonstrations."""
        super().__init__(config, context)
        empty = config.calibration == "contextual" and config.nulls == "empty"
        if empty and self.demonstrations.per_query:
            raise InputError(
                "method.nulls=empty leaves nothing to choose demonstrations for: give "
                "method.nulls=dinucleotide or method.demonstrations=fixed"
            )
