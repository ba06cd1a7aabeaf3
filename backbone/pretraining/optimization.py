"""Loss, parameter groups, window-length stages, gradient checkpointing and per-row dropout."""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from backbone.hyena.model import HyenaDNA, filter_parameters
from backbone.pretraining.data import IGNORED

BETAS = (0.9, 0.999)
"""Decay rates of AdamW's moments (Nguyen et al. 2023, table A.1)."""


def parameter_groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices and convolutions decay, all other parameters do not.

    Exempt are the implicit filters, decay rates of recurrent states, norms, biases and embeddings
    (with the head tied to them).
    """
    rates = {name for name, _ in model.named_parameters() if name.endswith("A_log")}
    exempt = filter_parameters(model) | rates
    embedding = model.get_input_embeddings().weight
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in model.named_parameters():
        decays = name not in exempt and parameter.ndim > 1 and parameter is not embedding
        groups[0 if decays else 1].append(parameter)
    return [
        {"params": groups[0], "weight_decay": weight_decay},
        {"params": groups[1], "weight_decay": 0.0},
    ]


def loss_sum(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy in nats over the whole vocabulary, and the targets counted.

    Args:
        model: The language model.
        inputs: (B, L) token ids.
        targets: (B, L) token ids, `IGNORED` where not counted.
    """
    logits = model(inputs).logits.flatten(0, 1).float()
    counted = (targets != IGNORED).sum()
    return F.cross_entropy(logits, targets.flatten(), reduction="sum"), counted


def stage_lengths(last_length: int, first_length: int) -> list[int]:
    """Return the window lengths of the stages: halvings of `last_length` down to `first_length`.

    Source: Nguyen et al. 2023 (arXiv 2306.15794), section 3.2, sequence length warm-up.
    """
    lengths = [last_length]
    while lengths[0] // 2 >= first_length:
        lengths.insert(0, lengths[0] // 2)
    return lengths


def stage_at(progress: float, stages: int, length_warmup: float) -> int:
    """Return the stage; all but the last divide the share `length_warmup` of the budget equally.

    Args:
        progress: Share of the budget used, 0 to 1.
        stages: Number of stages.
        length_warmup: Share of the budget before the last stage.
    """
    if progress >= length_warmup:
        return stages - 1
    return int(progress / length_warmup * (stages - 1))


def rows_of_stages(stages: int, last_rows: int) -> list[int]:
    """Return the windows per step of each stage: doubled for every halving of their length.

    Args:
        stages: Number of stages.
        last_rows: Windows per step in the last one.
    """
    return [last_rows << (stages - 1 - stage) for stage in range(stages)]


def recompute(model: HyenaDNA, what: str) -> None:
    """Turn on gradient checkpointing: keep less for the backward pass, and compute it again.

    Args:
        model: Is changed in place; its weights and their names are not.
        what: "block" computes whole blocks again, "mixer" only their Hyena operators, which account
            for most of what a block keeps; "none" changes nothing.
    """
    # Nothing in a block is random but RowDropout, which repeats itself.
    for block in model.backbone.layers if what != "none" else ():
        module = block.get_submodule("mixer" if what == "mixer" else "")
        again = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
        module.forward = again


class RowDropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, row), wherever the row is computed.

    Torch's dropout draws one mask for a whole batch from the process's random state: two processes
    with half a batch each would drop other values than one process with all of it.
    """

    def __init__(self, p: float, place: int, calls: int = 1) -> None:
        """Start without rows.

        Args:
            p: Share of the values that are set to 0.
            place: Which of the model's dropouts this is.
            calls: How often a forward pass goes through it, with another mask each time.
        """
        super().__init__()
        self.p, self.place, self.calls = p, place, calls
        self._called = 0
        self._seeds: np.ndarray = np.empty((calls, 0), dtype=np.uint32)

    def set_rows(self, seed: int, step: int, first: int, rows: int) -> None:
        """Announce the next rows of a step: `rows` of them, from `first` on."""
        self._called = 0
        self._seeds = np.stack(
            [
                np.random.SeedSequence((seed, step, self.place, call)).generate_state(first + rows)
                for call in range(self.calls)
            ]
        )[:, first:]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), B being the rows that were announced."""
        if not self.training:
            return x
        # Modulo, so that a block computed again in the backward pass drops the same values.
        seeds = self._seeds[self._called % self.calls]
        self._called += 1
        mask = torch.empty_like(x, requires_grad=False)
        generator = torch.Generator(x.device)
        for row, seed in zip(mask, seeds, strict=True):
            row.bernoulli_(1 - self.p, generator=generator.manual_seed(int(seed)))
        return x * mask.div_(1 - self.p)


def divide_by_rows(model: HyenaDNA) -> list[RowDropout]:
    """Replace each active dropout of a model by a RowDropout, and return the new ones.

    A block goes through its dropout twice, before each addition to the residual stream.
    """
    dropouts = []
    if model.config.embed_dropout > 0:
        dropouts.append(RowDropout(model.config.embed_dropout, place=0))
        model.backbone.dropout = dropouts[0]  # type: ignore[assignment]
    if model.config.resid_dropout > 0:
        for i, block in enumerate(model.backbone.layers):
            dropouts.append(RowDropout(model.config.resid_dropout, place=i + 1, calls=2))
            block.dropout = dropouts[-1]
    return dropouts
