"""Sequences as batches of token ids in which no row's result depends on another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.errors import DoesNotFit, InputError
from backbone.sequence.dna import reverse_complement
from backbone.tokens import PAD, encode_dna

if TYPE_CHECKING:
    from torch import Tensor

BUCKET = 64
"""Rows are padded to a multiple of this length, which no other row of the batch decides. Rows whose
multiples are equal are trained on together."""


@dataclass(frozen=True)
class Batch:
    """Some rows as token ids.

    Attributes:
        rows: (B,) their indices among all rows.
        ids: (B, L) token ids, padded on the right.
        lengths: (B,) where each row ends.
    """

    rows: np.ndarray
    ids: "Tensor"
    lengths: "Tensor"

    def to(self, device: str) -> "Batch":
        """Return the batch with its tensors on a device."""
        return Batch(self.rows, self.ids.to(device), self.lengths.to(device))


class EncodedSequences:
    """Sequences, encoded once, from which batches are made.

    Padding is on the right, where a causal model does not see it, up to a length that follows from
    each row alone.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        most: int,
        before: Sequence[np.ndarray] | None = None,
        bucket: int = BUCKET,
    ) -> None:
        """Encode sequences over ACGTN.

        Args:
            sequences: N sequences.
            most: Length of the longest row that the backbone can read, padding included.
            before: N arrays of token ids before each sequence; a sequence may then be empty.
            bucket: Rows are padded to a multiple of this length.

        Raises:
            InputError: If a row is empty, or longer than `most`, with the numbers.
        """
        if before is None:
            check_lengths(sequences, most)
            before = [np.zeros(0, dtype=np.int64)] * len(sequences)
        # Token ids are small: a byte each, because prompts of many rows are long.
        self.encoded = [
            np.concatenate([ids, encode_dna(sequence)]).astype(np.uint8)
            for ids, sequence in zip(before, sequences, strict=True)
        ]
        lengths = np.array([len(row) for row in self.encoded])
        if lengths.max(initial=0) > most:
            row, longest = int(lengths.argmax()) + 1, lengths.max()
            raise InputError(f"row {row} has {longest} tokens; the maximum is {most}")
        self.padded = _padded(lengths, bucket, most)
        self._similar = _padded(lengths, BUCKET, most)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.encoded)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return a batch of rows, padded to the longest padded length."""
        import torch

        length = int(self.padded[rows].max())
        ids = np.full((len(rows), length), PAD, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(self.encoded[row])] = self.encoded[row]
        lengths = torch.tensor([len(self.encoded[row]) for row in rows], device="cpu")
        return Batch(rows, torch.from_numpy(ids), lengths)

    def batches(self, size: int, tokens: int | None = None) -> Iterator[Batch]:
        """Yield all rows in batches of one padded length.

        Args:
            size: Most rows of a batch.
            tokens: Most tokens of a batch of more than one row; None for any number.
        """
        yield from map(self.batch, self.groups(size, tokens))

    def groups(self, size: int, tokens: int | None = None) -> Iterator[np.ndarray]:
        """Yield the rows of each of the `batches`."""
        return self._groups(np.arange(len(self)), self.padded, size, tokens)

    def epoch(self, count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the rows of each step of an epoch, of similar length, in random order.

        Args:
            count: Rows of one strand; if there are twice as many, row i + `count` is the reverse
                complement of row i, and each row comes once, on a strand drawn for it.
            size: Most rows of a step.
            generator: Source of the draws.
        """
        strand = generator.integers(len(self) // count, size=count)
        order = generator.permutation(count)
        steps = list(self._groups(order + strand[order] * count, self._similar, size))
        for i in generator.permutation(len(steps)):
            yield steps[i]

    @staticmethod
    def _groups(
        order: np.ndarray, padded: np.ndarray, size: int, tokens: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yield rows of one padded length together, within a length in the given order."""
        by_length = order[np.argsort(padded[order], kind="stable")]
        changes = np.flatnonzero(np.diff(padded[by_length])) + 1
        for group in np.split(by_length, changes):
            fitting = size
            if tokens is not None:
                fitting = min(size, max(1, tokens // int(padded[group[0]])))
            for start in range(0, len(group), fitting):
                yield group[start : start + fitting]


def _padded(lengths: np.ndarray, bucket: int, most: int) -> np.ndarray:
    """Round lengths up to a multiple of `bucket`, but not beyond `most`."""
    return np.minimum(np.maximum(-(-lengths // bucket), 1) * bucket, most)


def both_strands(sequences: Sequence[str]) -> list[str]:
    """Return the N sequences, then their N reverse complements."""
    return [*sequences, *(reverse_complement(s) for s in sequences)]


def check_lengths(sequences: Sequence[str], most: int) -> None:
    """Refuse rows that are empty or longer than `most`.

    Raises:
        InputError: If there is such a row; names the first, counted from 1, and its length.
    """
    for row, sequence in enumerate(sequences, start=1):
        if not sequence:
            raise InputError(f"row {row}: the sequence is empty")
        if len(sequence) > most:
            raise DoesNotFit(
                f"row {row}: {len(sequence)} nucleotides exceed the {most} that fit into the "
                f"backbone's max_seq_len; use a backbone with a longer context, or cut such rows "
                f"with truncate=right, left or center"
            )
