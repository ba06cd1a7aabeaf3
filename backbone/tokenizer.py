"""Text to token ids and back, with the ids of the published checkpoints."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizer

from backbone.dna import normalise, reverse_complement
from backbone.errors import InputError

SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
TOKENS = (*SPECIALS, *"ACGTN")
TOKEN_ID = {token: i for i, token in enumerate(TOKENS)}
SEP, PAD, N = TOKEN_ID["[SEP]"], TOKEN_ID["[PAD]"], TOKEN_ID["N"]
NUCLEOTIDES = (TOKEN_ID["A"], TOKEN_ID["C"], TOKEN_ID["G"], TOKEN_ID["T"])


@lru_cache(maxsize=1)
def _byte_to_id() -> NDArray[np.int64]:
    table = np.full(256, -1, dtype=np.int64)
    for letter in "ACGTN":
        table[ord(letter)] = TOKEN_ID[letter]
    return table


def encode_dna(sequence: str) -> NDArray[np.int64]:
    """Returns the token ids (L,) of a sequence over ACGTN (see `backbone.dna.normalise`).

    Raises:
        InputError: for any other letter, with its 1-based position.
    """
    ids = _byte_to_id()[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
    if ids.size and ids.min() < 0:
        position = int(np.argmin(ids))
        raise InputError(f"position {position + 1}: {sequence[position]!r} is not one of ACGTN")
    return ids


def decode_dna(ids: NDArray[np.int64] | Tensor) -> str:
    """Returns the text of token ids (L,); a special token stands as its name."""
    return "".join(TOKENS[int(i)] for i in ids)


@lru_cache(maxsize=1)
def _complement_of_id() -> Tensor:
    return torch.tensor([TOKEN_ID.get(reverse_complement(t), i) for i, t in enumerate(TOKENS)])


def reverse_complement_ids(ids: Tensor) -> Tensor:
    """Returns the opposite strand of token ids (..., L): complemented, and the last axis flipped.

    Special tokens stay what they are.
    """
    return _complement_of_id().to(ids.device)[ids].flip(-1)


class DNATokenizer(PreTrainedTokenizer):
    """One token a nucleotide, with the published ids: 7=A 8=C 9=G 10=T 11=N.

    Lower case counts as upper case, U as T, other IUPAC letters as N; what is no nucleotide at all
    is an error. No token is added unless asked for: a call gives the sequence's own ids.
    """

    vocab_files_names = {"vocab_file": "vocab.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file: str | None = None, **kwargs: object) -> None:
        """Builds the tokenizer; it has one vocabulary, and a file is only checked against it.

        Args:
            vocab_file: a saved vocabulary.
            **kwargs: settings of transformers' own tokenizers, kept in their files.

        Raises:
            InputError: if the saved vocabulary is another one.
        """
        if vocab_file is not None and json.loads(Path(vocab_file).read_text()) != TOKEN_ID:
            raise InputError(f"{vocab_file} is not the vocabulary of HyenaDNA (7=A 8=C 9=G 10=T)")
        specials = {f"{name[1:-1].lower()}_token": name for name in SPECIALS if "RES" not in name}
        settings = {**specials, "eos_token": "[SEP]", "padding_side": "right", **kwargs}
        super().__init__(**settings)

    @property
    def vocab_size(self) -> int:
        """The number of tokens that mean something."""
        return len(TOKENS)

    def get_vocab(self) -> dict[str, int]:
        """Returns token -> id."""
        return dict(TOKEN_ID)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        return list(normalise(text)[0])

    def _convert_token_to_id(self, token: str) -> int:
        return TOKEN_ID.get(token, TOKEN_ID["[UNK]"])

    def _convert_id_to_token(self, index: int) -> str:
        return TOKENS[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Joins tokens without spaces."""
        return "".join(tokens)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Returns the ids as they are; a pair is joined by [SEP]."""
        return token_ids_0 if token_ids_1 is None else [*token_ids_0, SEP, *token_ids_1]

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Writes vocab.json and returns its path."""
        name = (f"{filename_prefix}-" if filename_prefix else "") + "vocab.json"
        path = Path(save_directory) / name
        path.write_text(json.dumps(TOKEN_ID, indent=1) + "\n")
        return (str(path),)
