"""Labelled queries that a reader scores: batches, strands, training losses, progress."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backbone.side_by_side import side_by_side
from icl.inference.batches import BUCKET, Batch, EncodedSequences, both_strands
from icl.method import Context
from tasks.task import Example

TOKENS = 1 << 17
"""Most tokens of a batch that is scored, so that long prompts fit the memory."""


def number_format(context: Context) -> AbstractContextManager[object]:
    """Return the context manager of a run's number format."""
    if context.precision == "bf16":
        return torch.autocast(torch.device(context.device).type, torch.bfloat16)
    return nullcontext()


class QuerySet(ABC):
    """Labelled queries, on one strand or on both; a subclass says how a batch is read.

    Attributes:
        labels: (N,) classes.
        strands: 1, or 2 where every row is read as its reverse complement too.
        queries: The encoded rows; row N + i is the reverse complement of row i.
    """

    def __init__(
        self,
        context: Context,
        examples: Sequence[Example],
        strands: str,
        longest: int,
        before: Sequence[np.ndarray] | None = None,
        bucket: int = BUCKET,
    ) -> None:
        """Encode the rows.

        Args:
            context: The run's device, precision and batch size.
            examples: N rows.
            strands: "both", or "forward".
            longest: Tokens of the longest row that fits.
            before: N arrays of token ids, each before its row on either strand.
            bucket: Rows are padded to a multiple of this length.

        Raises:
            InputError: If a row does not fit, with the numbers.
        """
        self._context = context
        self.labels = np.array([e.label for e in examples])
        self.strands = 2 if strands == "both" else 1
        sequences = [e.sequence for e in examples]
        views = both_strands(sequences) if self.strands == 2 else sequences
        own = None if before is None else [*before] * self.strands
        self.queries = EncodedSequences(views, longest, before=own, bucket=bucket)

    @abstractmethod
    def _shared(self) -> Any:
        """Return what all batches of a pass have in common: the state of a prompt."""

    @abstractmethod
    def _read(self, rows: np.ndarray, shared: Any) -> tuple[Tensor, Tensor | None]:
        """Return class scores (B, C) of rows, and next-token logits (B, V) if there are any."""

    def _batch(self, rows: np.ndarray) -> Batch:
        """Return rows as a batch on the run's device."""
        return self.queries.batch(rows).to(self._context.device)

    def keep_states(self) -> Self:
        """Encode every row once, if its states depend on nothing learned; return the set."""
        return self

    def epoch(self, rows: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the rows of each training step, for `loss`; see `EncodedSequences.epoch`."""
        return self.queries.epoch(len(self.labels), rows, generator)

    def scores(self) -> np.ndarray:
        """Return log-probabilities (N, C), averaged over the strands."""
        return self.answers()[0]

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities (N, C), and the likeliest token (N,) of the vocabulary.

        Scores are averaged over the strands; the token follows the forward strand, without offset,
        and is 0 where no next token is read.
        """
        context, count = self._context, len(self.labels)
        scores = np.zeros((len(self.queries), len(context.labels)))
        likeliest, done = np.zeros(len(self.queries), dtype=np.int64), 0
        with torch.no_grad(), number_format(context):
            shared = self._shared()

            def read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, Tensor | None]:
                found, logits = self._read(rows, shared)
                tokens = None if logits is None else logits.argmax(-1)
                return rows, found.double().cpu().numpy(), tokens

            groups = self.queries.groups(context.batch_size, TOKENS)
            for rows, found, tokens in side_by_side(read, groups):
                scores[rows] = found
                if tokens is not None:
                    likeliest[rows] = tokens.cpu().numpy()
                done += len(rows)
                context.rows_done("scoring", done, len(self.queries))
        averaged = scores.reshape(self.strands, count, -1).mean(axis=0)
        return torch.from_numpy(averaged).log_softmax(-1).numpy(), likeliest[:count]

    def loss(self, rows: np.ndarray) -> Tensor:
        """Return the mean cross-entropy of rows of similar length.

        Args:
            rows: (B,) numbers below N, or N + i for the other strand of row i.
        """
        with number_format(self._context):
            scores = self._read(rows, self._shared())[0]
        labels = torch.from_numpy(self.labels[rows % len(self.labels)]).to(scores.device)
        return F.cross_entropy(scores, labels)
