"""Frozen states of whole sequences: mean over positions and over both strands."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from backbone.model import HyenaDNA
from icl.queries import Batch, Queries, both_strands


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
    queries = Queries(both_strands(sequences), model.config.max_seq_len)
    means = np.zeros((len(queries), model.config.d_model))
    for batch in queries.batches(batch_size):
        means[batch.rows] = _pooled(model, batch.to(device), precision)
    return means.reshape(2, len(sequences), -1).mean(axis=0)


@torch.no_grad()
def _pooled(model: HyenaDNA, batch: Batch, precision: str) -> np.ndarray:
    """Mean over each row's own positions, (B, D)."""
    device_type = batch.ids.device.type
    with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.encode(model.embed(batch.ids))
    # Float64 happens on the CPU: not every accelerator has it.
    hidden, lengths = hidden.cpu().double(), batch.lengths.cpu()[:, None]
    inside = torch.arange(hidden.shape[1])[None, :] < lengths
    return ((hidden * inside[..., None]).sum(dim=1) / lengths).numpy()
