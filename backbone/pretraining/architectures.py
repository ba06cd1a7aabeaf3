"""Architectures that are pretrained: HyenaDNA, and causal models of transformers."""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MambaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from backbone.common.errors import InputError
from backbone.hf.tokenizer import single_base_tokenizer
from backbone.hyena.model import HyenaDNA, random_model
from backbone.hyena.zoo import load
from backbone.pretraining.config import TrainerConfig
from backbone.tokens import SEP, TOKEN_ID, TOKENS

HEAD_WIDTH = 32
"""Width of an attention head; a narrower model has one."""

SHAPE = (
    *("vocab_size", "d_model", "n_layer", "d_inner", "max_seq_len", "emb_dim", "filter_order"),
    *("num_inner_mlps", "tie_word_embeddings"),
)
"""What a HyenaDNA and the weights it starts from must have in common."""

STATE_SIZE = 16
"""Numbers of a channel's recurrent state."""


def new_model(config: TrainerConfig) -> PreTrainedModel:
    """Return a model of a run's architecture and shape, with seeded random weights or given ones.

    Raises:
        InputError: If `config.init` is no checkpoint, or one of another shape.
    """
    if config.architecture == "hyena":
        model = random_model(config.model_config(), config.seed)
        if config.init is not None:
            _start_from(model, config.init)
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return AutoModelForCausalLM.from_config(configuration(config), dtype=torch.float32)


def _start_from(model: HyenaDNA, checkpoint: str) -> None:
    """Copy the weights of a checkpoint of the same shape into a model."""
    found = load(checkpoint)
    for name in SHAPE:
        here, there = getattr(model.config, name), getattr(found.config, name)
        if here != there:
            raise InputError(
                f"init={checkpoint} has {name}={there}, not {here}; give {name}={there}"
            )
    model.load_state_dict(found.state_dict())


def tokenizer_of(config: TrainerConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer that is saved with the model."""
    if config.architecture == "hyena":
        return config.tokenizer()
    return single_base_tokenizer(config.max_seq_len)


def configuration(config: TrainerConfig) -> PretrainedConfig:
    """Return the configuration of an architecture of transformers."""
    ids: dict[str, Any] = {
        "vocab_size": len(TOKENS),
        "bos_token_id": TOKEN_ID["[BOS]"],
        "eos_token_id": SEP,
        "pad_token_id": TOKEN_ID["[PAD]"],
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    shape: dict[str, Any] = {"hidden_size": config.d_model, "num_hidden_layers": config.n_layer}
    if config.architecture == "mamba":
        return MambaConfig(**ids, **shape, state_size=STATE_SIZE)
    return LlamaConfig(
        **ids,
        **shape,
        intermediate_size=config.d_inner or 4 * config.d_model,
        num_attention_heads=max(1, config.d_model // HEAD_WIDTH),
        max_position_embeddings=config.max_seq_len,
    )
