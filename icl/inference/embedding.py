"""The frozen backbone as a feature extractor: mean hidden states of sequences, from any layer.

Pooled over positions, and over both strands unless one is asked for. A sequence that is longer
than the backbone's context is read in pieces; methods refuse such rows instead.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.hyena.model import HyenaDNA
from backbone.sequence.dna import reverse_complement
from icl.inference.batches import EncodedSequences, check_lengths
from icl.inference.state_cache import cached_states

EMBEDDING, FINAL_NORM = "embedding", "final_norm"

Strands = Literal["both", "forward"]
Precision = Literal["float32", "bf16"]


def layer_names(model: HyenaDNA) -> tuple[str, ...]:
    """Return the layers in order: embedding, block_1, ..., block_n, final_norm."""
    blocks = (f"block_{i}" for i in range(1, model.config.n_layer + 1))
    return (EMBEDDING, *blocks, FINAL_NORM)


def embed(
    model: HyenaDNA,
    sequences: Sequence[str],
    layers: Sequence[str] | None = None,
    *,
    strands: Strands = "both",
    device: str = "cpu",
    precision: Precision = "float32",
) -> dict[str, np.ndarray]:
    """Return the outputs of layers, averaged over positions and strands.

    A row's result does not depend on the other rows: it is padded on the right, where a causal
    model does not see it, to a length that follows from its own alone. A sequence longer than
    `max_seq_len` is cut into as few pieces as possible, of equal length to within one base; each is
    read by itself, and every position counts once.

    Args:
        model: Frozen backbone.
        sequences: N sequences over ACGTN, of any length.
        layers: Some of `layer_names`; all by default. `embedding` is the input of the first block,
            `block_i` the residual stream after block i, `final_norm` what logits are made from.
        strands: "both" averages a sequence and its reverse complement.
        device: Device of the model.
        precision: Number format of the backbone's arithmetic; the mean is taken in float64.

    Returns:
        For each layer (N, D) float64.

    Raises:
        InputError: If a layer is unknown or a row is empty.
    """
    known = layer_names(model)
    wanted = known if layers is None else tuple(layers)
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"no layer {unknown[0]!r}; the backbone's layers are {', '.join(known)}")
    check_lengths(sequences, max(map(len, sequences), default=0))
    kind = f"mean of states, {strands}, {' '.join(wanted)}, {precision}"
    width = 8 * model.config.d_model * len(wanted)

    def encode(sequence: str) -> tuple[Tensor]:
        most = model.config.max_seq_len
        means = [
            len(piece) / len(sequence) * _pooled(model, piece, wanted, strands, device, precision)
            for piece in pieces(sequence, most)
        ]
        return (torch.stack(means).sum(dim=0),)

    states = cached_states(model, kind, sequences, encode, width)[0]
    return {name: states[:, i].numpy() for i, name in enumerate(wanted)}


def embed_sequences(
    model: HyenaDNA,
    sequences: Sequence[str],
    *,
    device: str = "cpu",
    precision: Precision = "float32",
) -> np.ndarray:
    """Return final hidden states averaged over positions and both strands, (N, D) float64.

    `embed` of the last layer alone, for sequences that the backbone reads whole.

    Raises:
        InputError: If a row is empty or longer than the model's context.
    """
    check_lengths(sequences, model.config.max_seq_len)
    found = embed(model, sequences, [FINAL_NORM], device=device, precision=precision)
    return found[FINAL_NORM]


def check_backbone(
    model: HyenaDNA, sequence: str, *, device: str = "cpu", precision: Precision = "float32"
) -> None:
    """Refuse a backbone whose hidden states of a sequence are not finite.

    Raises:
        InputError: If a state is NaN or infinite.
    """
    found = embed_sequences(
        model, [sequence[: model.config.max_seq_len]], device=device, precision=precision
    )
    if not np.isfinite(found).all():
        cure = "give precision=float32, or " if precision == "bf16" else "give "
        raise InputError(
            f"the backbone's hidden states are not finite (NaN or infinite) on the first training "
            f"row; {cure}another backbone, or download its weights again"
        )


def pieces(sequence: str, most: int) -> list[str]:
    """Cut a sequence into as few pieces as possible of at most `most` letters.

    Their lengths differ by at most one: a short last piece would have hardly any context.
    """
    count = -(-len(sequence) // most)
    cuts = np.linspace(0, len(sequence), count + 1).round().astype(int).tolist()
    return [sequence[start:end] for start, end in pairwise(cuts)]


@torch.no_grad()
def _pooled(
    model: HyenaDNA,
    sequence: str,
    layers: Sequence[str],
    strands: Strands,
    device: str,
    precision: str,
) -> Tensor:
    """Return means over the sequence's own positions and its strands, (layers, D)."""
    both = [sequence, reverse_complement(sequence)]
    queries = EncodedSequences(both if strands == "both" else both[:1], model.config.max_seq_len)
    batch = queries.batch(np.arange(len(queries))).to(device)
    means = {}

    def keep(name: str, hidden: Tensor) -> None:
        if name in layers:
            # Not every accelerator has float64.
            means[name] = hidden[:, : len(sequence)].cpu().double().mean(dim=(0, 1))

    layer_of = iter(layer_names(model))
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.backbone.dropout(model.embed(batch.ids))
        keep(next(layer_of), hidden)
        for block in (*model.backbone.layers, model.backbone.ln_f):
            hidden = block(hidden)
            keep(next(layer_of), hidden)
    return torch.stack([means[name] for name in layers])
