"""A training step and an evaluated batch, on the plain path and with the prefix engine.

Both give the logits after [prompt ; query] at the query's last position. A training step is the
forward pass, the backward pass to the prompt's vectors and a step of AdamW on them.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.side_by_side import inside_operations
from backbone.tokens import NUCLEOTIDES

Phase = Literal["train", "evaluate"]
Way = Literal["plain", "engine"]
PHASES: tuple[Phase, ...] = get_args(Phase)
WAYS: tuple[Way, ...] = get_args(Way)

MAX_SEQ_LEN = 160_000
LAYERS = {128: 2, 256: 8}
"""Layers by width, as in the published checkpoints of 1,000 and of 160,000 tokens."""


@dataclass(frozen=True)
class Shape:
    """Shape of a case: `batch` rows of [prompt of prompt_tokens ; query of query_length]."""

    width: int
    layers: int
    prompt_tokens: int
    batch: int
    query_length: int


class Paths:
    """A model with random weights, a prompt, a batch of queries, and both ways to score them."""

    def __init__(self, shape: Shape, device: str) -> None:
        """Draw weights, prompt and queries, always the same for a shape."""
        config = HyenaDNAConfig(
            d_model=shape.width,
            n_layer=shape.layers,
            d_inner=4 * shape.width,
            max_seq_len=max(MAX_SEQ_LEN, shape.prompt_tokens + shape.query_length),
        )
        self.shape = shape
        model = random_model(config, seed=0)
        model.to(torch.device(device))  # type: ignore[arg-type]
        self.model: HyenaDNA = model.requires_grad_(False).eval()
        self.engine = PrefixEngine(self.model)
        draw = torch.Generator("cpu").manual_seed(0)
        tokens = torch.tensor(NUCLEOTIDES, device="cpu")

        def drawn(most: int, *size: int) -> Tensor:
            return torch.randint(most, size, generator=draw, device="cpu")

        self.ids = tokens[drawn(4, shape.batch, shape.query_length)].to(device)
        start = tokens[drawn(4, shape.prompt_tokens)].to(device)
        self.labels = drawn(2, shape.batch).to(device)
        self.prompt = nn.Parameter(self.model.embed(start).clone())
        self.optimizer = torch.optim.AdamW([self.prompt], lr=0.01)

    def encode_prefix(self) -> PrefixState:
        """Encode the prompt for the engine."""
        return self.engine.extend(None, self.prompt[None], room=self.shape.query_length)

    def logits(self, way: Way, prefix: PrefixState | None = None) -> Tensor:
        """Return logits (B, V) at the last position; the engine may be given its prefix."""
        if way == "plain":
            return reference.last_logits(self.model, self.prompt, self.ids)
        prefix = self.encode_prefix() if prefix is None else prefix
        return self.model.logits(self.engine.encode_last(prefix, self.ids))

    def train(self, way: Way) -> None:
        """Do one training step on the label words A and C."""
        self.optimizer.zero_grad()
        words = self.logits(way)[:, list(NUCLEOTIDES[:2])]
        F.cross_entropy(words, self.labels).backward()
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, way: Way, prefix: PrefixState | None = None) -> None:
        """Score one batch."""
        self.logits(way, prefix)

    def step(self, phase: Phase, way: Way, prefix: PrefixState | None) -> None:
        """Do one step of a phase; the engine evaluates with the prefix that is given."""
        with shared_by(way):
            if phase == "train":
                self.train(way)
            else:
                self.evaluate(way, prefix if way == "engine" else None)


def shared_by(way: str) -> AbstractContextManager[None]:
    """Have threads share the pieces of the engine, and the operations of any other way."""
    return nullcontext() if way == "engine" else inside_operations()


def plain_bytes(shape: Shape, phase: Phase) -> int:
    """Estimate the bytes of tensors that the plain path holds at its peak.

    In units of one (B, L, D) tensor of float32: training keeps about 14 a layer for the backward
    pass; either way the widest point of a layer holds about 14 more.
    """
    unit = 4 * shape.batch * (shape.prompt_tokens + shape.query_length) * shape.width
    return unit * (14 + (14 * shape.layers if phase == "train" else 0))
