"""Token ids of the published checkpoints: text to ids and back; no torch, no transformers."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backbone.common.errors import InputError
from backbone.sequence.dna import DNA, reverse_complement

if TYPE_CHECKING:
    from torch import Tensor

SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
TOKENS = (*SPECIALS, *DNA.letters)
TOKEN_ID = {token: i for i, token in enumerate(TOKENS)}
SEP, PAD, N = TOKEN_ID["[SEP]"], TOKEN_ID["[PAD]"], TOKEN_ID["N"]
NUCLEOTIDES = (TOKEN_ID["A"], TOKEN_ID["C"], TOKEN_ID["G"], TOKEN_ID["T"])
_ID_OF_BYTE = DNA.codes.astype(np.int64) + len(SPECIALS)
"""Token id of each letter; `len(TOKENS)` for any other byte."""


def encode_dna(sequence: str) -> NDArray[np.int64]:
    """Return the token ids (L,) of a sequence over ACGTN (see `backbone.sequence.dna.normalise`).

    Raises:
        InputError: If there is any other character, with its 1-based position.
    """
    ids = _ID_OF_BYTE[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
    if ids.max(initial=0) == len(TOKENS):
        position = int(np.argmax(ids))
        raise InputError(
            f"position {position + 1}: {sequence[position]!r} is not one of {DNA.letters}"
        )
    return ids


def decode_dna(ids: "NDArray[np.int64] | Tensor") -> str:
    """Return the text of token ids (L,), with special tokens as their names."""
    return "".join(TOKENS[int(i)] for i in ids)


@lru_cache(maxsize=1)
def _complement_of_id() -> "Tensor":
    import torch

    ids = [TOKEN_ID.get(reverse_complement(t), i) for i, t in enumerate(TOKENS)]
    return torch.tensor(ids, device="cpu")


def reverse_complement_ids(ids: "Tensor") -> "Tensor":
    """Return the reverse complement of token ids (..., L), along the last axis.

    Special tokens are their own complements.
    """
    return _complement_of_id().to(ids.device)[ids].flip(-1)
