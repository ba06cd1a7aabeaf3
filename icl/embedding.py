"""Frozen states of whole sequences: mean over positions and over both strands."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backbone.dna import reverse_complement
from backbone.errors import InputError
from backbone.model import HyenaDNA
from backbone.tokenizer import PAD, encode_dna

BUCKET = 64
"""Rows are padded to a multiple of this length: a length that no other row of the batch decides."""


def check_lengths(sequences: Sequence[str], max_seq_len: int) -> None:
    """Refuse rows that the backbone cannot read whole, or that hold nothing to read.

    Raises:
        InputError: Naming the first such row and its length.
    """
    for row, sequence in enumerate(sequences):
        if not sequence:
            raise InputError(f"row {row}: the sequence is empty")
        if len(sequence) > max_seq_len:
            raise InputError(
                f"row {row}: {len(sequence)} nucleotides exceed the backbone's max_seq_len of "
                f"{max_seq_len}; use a backbone with a longer context"
            )


def embed_sequences(
    model: HyenaDNA,
    sequences: Sequence[str],
    *,
    batch_size: int = 64,
    device: str = "cpu",
    precision: Literal["float32", "bf16"] = "float32",
) -> np.ndarray:
    """Mean of the final hidden states over positions, averaged over both strands.

    A row's result does not depend on the other rows: it is padded on the right, where a causal
    model does not see it, to a length that follows from its own alone.

    Args:
        model: Frozen backbone.
        sequences: N sequences over ACGTN.
        batch_size: Rows a forward pass reads at once.
        device: Where the model is.
        precision: Number format of the backbone's arithmetic; the mean is taken in float64.

    Returns:
        (N, D) float64.

    Raises:
        InputError: If a row is empty or longer than the model's context.
    """
    most = model.config.max_seq_len
    check_lengths(sequences, most)
    padded = [min(-(-len(s) // BUCKET) * BUCKET, most) for s in sequences]
    states = np.zeros((len(sequences), model.config.d_model))
    order = np.argsort(padded, kind="stable")
    for rows in _batches(order, padded, batch_size):
        batch = [sequences[row] for row in rows]
        both = [*batch, *(reverse_complement(s) for s in batch)]
        means = _pooled(model, both, padded[rows[0]], device, precision)
        states[rows] = (means[: len(rows)] + means[len(rows) :]) / 2
    return states


def _batches(order: np.ndarray, padded: Sequence[int], batch_size: int) -> list[np.ndarray]:
    """Rows of equal padded length, at most `batch_size` together."""
    lengths = np.array(padded)[order]
    groups = np.split(order, np.flatnonzero(np.diff(lengths)) + 1)
    return [
        group[start : start + batch_size]
        for group in groups
        for start in range(0, len(group), batch_size)
    ]


@torch.no_grad()
def _pooled(
    model: HyenaDNA, sequences: Sequence[str], length: int, device: str, precision: str
) -> np.ndarray:
    ids = np.full((len(sequences), length), PAD, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = encode_dna(sequence)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.encode(model.embed(torch.from_numpy(ids).to(device)))
    # Float64 happens on the CPU: not every accelerator has it.
    return _masked_mean(hidden.cpu().double(), [len(s) for s in sequences]).numpy()


def _masked_mean(hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """(B, L, D) and B lengths -> (B, D)."""
    counts = torch.tensor(lengths)[:, None]
    inside = torch.arange(hidden.shape[1])[None, :] < counts
    return (hidden * inside[..., None]).sum(dim=1) / counts
