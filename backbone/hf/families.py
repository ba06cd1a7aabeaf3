"""The architectures of transformers that are backbones, and what differs between them."""

from dataclasses import dataclass

from transformers import PretrainedConfig

from backbone.protocol import AdapterTargets

UNLIMITED = 1 << 20
"""Context of a recurrent model that does not say how long its rows were in pretraining."""

KEYS_AND_VALUES, RECURRENT = "past_key_values", "cache_params"

_GATED = ("gate_proj", "up_proj", "down_proj")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Family:
    """An architecture, by the names of its parts below `base_model`.

    Attributes:
        layers: The list of blocks.
        norm: The norm after the last block.
        cache: The argument that is the architecture's cache.
        targets: What adapters change. PEFT refuses Mamba's out_proj, which fused kernels bypass;
            experts of a mixture are no linear maps, and stay as they are.
    """

    layers: str
    norm: str
    cache: str
    targets: AdapterTargets

    @property
    def attends(self) -> bool:
        """Whether the cache holds keys and values of positions, and no recurrent state."""
        return self.cache == KEYS_AND_VALUES


_LLAMA = Family(
    "layers",
    "norm",
    KEYS_AND_VALUES,
    AdapterTargets(
        (*_ATTENTION, *_GATED), ia3=("k_proj", "v_proj", "down_proj"), feedforward=("down_proj",)
    ),
)
FAMILIES: dict[str, Family] = {
    "gemma": _LLAMA,
    "gpt2": Family(
        "h",
        "ln_f",
        KEYS_AND_VALUES,
        AdapterTargets(
            ("c_attn", "c_proj", "c_fc"), ia3=("c_attn", "mlp.c_proj"), feedforward=("mlp.c_proj",)
        ),
    ),
    "llama": _LLAMA,
    "mamba": Family(
        "layers", "norm_f", RECURRENT, AdapterTargets(("in_proj", "x_proj"), ia3=("in_proj",))
    ),
    "mamba2": Family("layers", "norm_f", RECURRENT, AdapterTargets(("in_proj",), ia3=("in_proj",))),
    "mistral": _LLAMA,
    "mixtral": Family(
        "layers", "norm", KEYS_AND_VALUES, AdapterTargets(_ATTENTION, ia3=("k_proj", "v_proj"))
    ),
}
"""Families by `model_type`."""


def context_length(config: PretrainedConfig, of_tokenizer: int) -> int:
    """Return the most tokens of a row.

    Args:
        config: The model's configuration.
        of_tokenizer: `model_max_length`, astronomic where the tokenizer does not say.
    """
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None:
        return int(positions)
    return of_tokenizer if of_tokenizer < UNLIMITED else UNLIMITED
