"""Tiny random models of transformers, saved as folders with a tokenizer of single bases."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

SPECIALS = ("[UNK]", "[PAD]", "<s>", "</s>", "[SEP]", "[CLS]")
VOCABULARY = {token: i for i, token in enumerate((*SPECIALS, *"TGCAN"))}
"""Another order than that of our own tokens."""

_WIDTH = dict(vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2)
_LLAMA = _WIDTH | dict(
    intermediate_size=32,
    num_attention_heads=2,
    max_position_embeddings=300,
    initializer_range=0.3,
    bos_token_id=2,
    eos_token_id=3,
)


def config_of(kind: str) -> PretrainedConfig:
    """The configuration of a model of two layers and 16 channels."""
    grouped = _LLAMA | dict(num_key_value_heads=1)
    ends = dict(bos_token_id=2, eos_token_id=3)
    made = {
        "gemma": lambda: GemmaConfig(**grouped, head_dim=8),
        "gpt2": lambda: GPT2Config(
            **_WIDTH, **ends, num_attention_heads=2, n_positions=300, initializer_range=0.3
        ),
        "llama": lambda: LlamaConfig(**_LLAMA),
        "mamba": lambda: MambaConfig(**_WIDTH, **ends, state_size=4, initializer_range=0.3),
        "mamba2": lambda: Mamba2Config(
            **_WIDTH, **ends, state_size=4, num_heads=4, head_dim=8, n_groups=1, chunk_size=8,
            initializer_range=0.3,
        ),
        "mistral": lambda: MistralConfig(**grouped),
        "mixtral": lambda: MixtralConfig(**grouped, num_local_experts=3),
    }  # fmt: skip
    return made[kind]()


def save_tokenizer(
    folder: Path,
    vocabulary: dict[str, int] = VOCABULARY,
    start: Sequence[str] = (),
    specials: dict[str, str] | None = None,
    length: int = 300,
) -> None:
    """Write a tokenizer that reads one base as one token."""
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if start:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{' '.join(start)} $A", special_tokens=[(s, vocabulary[s]) for s in start]
        )
    if specials is None:
        specials = dict(unk_token="[UNK]", pad_token="[PAD]", sep_token="[SEP]")
    PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=length, **specials
    ).save_pretrained(folder)


def save(kind: str, folder: Path, start: Sequence[str] = (), seed: int = 0) -> Path:
    """Write a tiny random model with its tokenizer."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config_of(kind)).save_pretrained(folder)
    save_tokenizer(folder, start=start)
    return folder
