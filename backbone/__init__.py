"""Language models over single nucleotides, above all HyenaDNA; imports no other package.

`import backbone` makes the model known to transformers: `AutoConfig`, `AutoModelForCausalLM`,
`AutoTokenizer` and `pipeline("text-generation", ...)` load its checkpoints by their `config.json`.
This imports neither transformers nor torch; the model is registered once they are imported.
"""

import sys
from types import ModuleType

from wrapt import register_post_import_hook

_AUTO = "transformers.models.auto"


def _register_config(_: ModuleType) -> None:
    # Where the import of our own configuration led here, it registers itself when it is complete.
    if "backbone.hyena.config" not in sys.modules:
        import backbone.hyena.config  # noqa: F401


def _register_model(auto: ModuleType) -> None:
    from backbone.hyena.config import HyenaDNAConfig
    from backbone.hyena.model import HyenaDNA

    auto.AutoModelForCausalLM.register(HyenaDNAConfig, HyenaDNA)


def _register_tokenizers(auto: ModuleType) -> None:
    from backbone.hyena.config import HyenaDNAConfig
    from backbone.hyena.tokenizer import TOKENIZERS, DNATokenizer

    for tokenizer in [*TOKENIZERS.values(), DNATokenizer]:  # DNA last: the default of the model
        auto.AutoTokenizer.register(HyenaDNAConfig, tokenizer, exist_ok=True)


register_post_import_hook(_register_config, f"{_AUTO}.configuration_auto")
register_post_import_hook(_register_model, f"{_AUTO}.modeling_auto")
register_post_import_hook(_register_tokenizers, f"{_AUTO}.tokenization_auto")
