"""Frozen states of whole sequences: mean over positions and over both strands."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from backbone.model import HyenaDNA
from icl.memo import remembered
from icl.queries import Queries, both_strands, check_lengths


def embed_sequences(
    model: HyenaDNA,
    sequences: Sequence[str],
    *,
    device: str = "cpu",
    precision: Literal["float32", "bf16"] = "float32",
) -> np.ndarray:
    """Mean of the final hidden states over positions, averaged over both strands.

    A row's result does not depend on the other rows: it is padded on the right, where a causal
    model does not see it, to a length that follows from its own alone.

    Args:
        model: Frozen backbone.
        sequences: N sequences over ACGTN.
        device: Where the model is.
        precision: Number format of the backbone's arithmetic; the mean is taken in float64.

    Returns:
        (N, D) float64.

    Raises:
        InputError: If a row is empty or longer than the model's context.
    """
    check_lengths(sequences, model.config.max_seq_len)
    kind = f"mean of states, {precision}"
    width = 8 * model.config.d_model

    def encode(sequence: str) -> tuple[torch.Tensor]:
        return (_pooled(model, sequence, device, precision),)

    return remembered(model, kind, sequences, encode, width)[0].numpy()


@torch.no_grad()
def _pooled(model: HyenaDNA, sequence: str, device: str, precision: str) -> torch.Tensor:
    """Mean over both strands and the sequence's own positions, (D,)."""
    queries = Queries(both_strands([sequence]), model.config.max_seq_len)
    batch = queries.batch(np.arange(2)).to(device)
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.encode(model.embed(batch.ids))
    # Float64 happens on the CPU: not every accelerator has it.
    return hidden[:, : len(sequence)].cpu().double().mean(dim=(0, 1))
