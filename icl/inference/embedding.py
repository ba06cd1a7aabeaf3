"""The frozen backbone as a feature extractor: mean hidden states of sequences, from any layer.

Pooled over positions, and over both strands unless one is asked for. A sequence that is longer
than the backbone's context is read in pieces; methods refuse such rows instead.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.models import context_engine
from backbone.protocol import ContextEngine, LanguageModel
from backbone.sequence.dna import reverse_complement
from backbone.sequence.stretches import stretches
from backbone.state_store import StateStore
from icl.inference.batches import EncodedSequences, check_lengths
from icl.inference.state_cache import cached_states

EMBEDDING, FINAL_NORM = "embedding", "final_norm"

Strands = Literal["both", "forward"]
Precision = Literal["float32", "bf16"]


def layer_names(model: LanguageModel) -> tuple[str, ...]:
    """Return the layers in order: embedding, block_1, ..., block_n, final_norm."""
    blocks = (f"block_{i}" for i in range(1, model.config.n_layer + 1))
    return (EMBEDDING, *blocks, FINAL_NORM)


def embed(
    model: LanguageModel,
    sequences: Sequence[str],
    layers: Sequence[str] | None = None,
    *,
    strands: Strands = "both",
    device: str = "cpu",
    precision: Precision = "float32",
    store: StateStore | None = None,
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
        store: Where rows are looked for on disk, and written; None for nowhere.

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
    width, engine = 8 * model.config.d_model * len(wanted), context_engine(model)

    def encode(some: Sequence[str]) -> tuple[Tensor]:
        how = wanted, strands, device, precision
        return (torch.stack([mean_states(engine, sequence, *how) for sequence in some]),)

    states = cached_states(model, kind, sequences, encode, width, store=store)[0]
    return {name: states[:, i].clone().numpy() for i, name in enumerate(wanted)}


def mean_states(
    engine: ContextEngine,
    sequence: str,
    layers: Sequence[str],
    strands: Strands = "both",
    device: str = "cpu",
    precision: Precision = "float32",
) -> Tensor:
    """Return the mean states (layers, D) float64 of one sequence of any length; see `embed`."""
    means = [
        len(piece) / len(sequence) * _pooled(engine, piece, layers, strands, device, precision)
        for piece in pieces(sequence, engine.model.config.max_seq_len)
    ]
    return torch.stack(means).sum(dim=0)


def base_states(
    engine: ContextEngine,
    read: Callable[[int, int], str],
    length: int,
    layers: Sequence[str],
    strands: Strands = "both",
    device: str = "cpu",
    precision: Precision = "float32",
) -> Iterator[np.ndarray]:
    """Yield the states of every base of a sequence, (layers, L, D) float32 of successive parts.

    With both strands a base has the mean of its states on either. A sequence that is longer than
    the context is read in stretches, each after a quarter of the context.

    Args:
        engine: Frozen backbone.
        read: Returns bases start .. end - 1 of the sequence.
        length: Bases of the sequence.
        layers: Some of `layer_names`.
        strands: "both" or "forward".
        device: Device of the model.
        precision: Number format of the backbone's arithmetic.
    """
    context = engine.model.config.max_seq_len
    overlap = context // 4
    for start, end in stretches(length, context, overlap):
        before, after = min(overlap, start), min(overlap, length - end)
        text = read(start - before, end + after)
        forward = text[: len(text) - after]
        how = (layers, device, precision, lambda hidden: hidden[0].float())
        found = _states(engine, [forward], *how)[:, before:]
        if strands == "both":
            backward = reverse_complement(text[before:])
            found = (found + _states(engine, [backward], *how)[:, after:].flip(1)) / 2
        yield found.numpy()


def embed_sequences(
    model: LanguageModel,
    sequences: Sequence[str],
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    store: StateStore | None = None,
) -> np.ndarray:
    """Return final hidden states averaged over positions and both strands, (N, D) float64.

    `embed` of the last layer alone, for sequences that the backbone reads whole.

    Raises:
        InputError: If a row is empty or longer than the model's context.
    """
    check_lengths(sequences, model.config.max_seq_len)
    found = embed(model, sequences, [FINAL_NORM], device=device, precision=precision, store=store)
    return found[FINAL_NORM]


def check_backbone(
    model: LanguageModel, sequence: str, *, device: str = "cpu", precision: Precision = "float32"
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


def _pooled(
    engine: ContextEngine,
    sequence: str,
    layers: Sequence[str],
    strands: Strands,
    device: str,
    precision: str,
) -> Tensor:
    """Return means over the sequence's own positions and its strands, (layers, D)."""
    both = [sequence, reverse_complement(sequence)]
    texts = both if strands == "both" else both[:1]
    return _states(engine, texts, layers, device, precision, lambda h: h.double().mean(dim=(0, 1)))


@torch.no_grad()
def _states(
    engine: ContextEngine,
    texts: Sequence[str],
    layers: Sequence[str],
    device: str,
    precision: str,
    kept: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return what is kept of the states of layers, (layers, ...), on the CPU.

    Args:
        engine: Frozen backbone.
        texts: B sequences of one length L.
        layers: Some of `layer_names`.
        device: Device of the model.
        precision: Number format of the backbone's arithmetic.
        kept: What is kept of a layer's states (B, L, D), which are on the CPU already, as not every
            accelerator has float64.
    """
    queries = EncodedSequences(texts, engine.model.config.max_seq_len)
    batch = queries.batch(np.arange(len(queries))).to(device)
    states, names = {}, layer_names(engine.model)
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        for name, hidden in zip(names, engine.layer_states(batch.ids), strict=True):
            if name in layers:
                states[name] = kept(hidden[:, : len(texts[0])].cpu())
    return torch.stack([states[name] for name in layers])
