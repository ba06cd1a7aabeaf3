"""Edited sequences as branches: sequences of one length together, and edits at one position."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backbone.protocol import Branches
from backbone.sequence.edits import Edit
from backbone.tokens import encode_dna

POSITIONS = 16_000
"""Bases of the sequences of a group, which bounds the memory they take."""


@dataclass(frozen=True)
class EditGroup:
    """Some sequences of one length, and their edits.

    Attributes:
        rows: (B,) which of all sequences.
        ids: (B, L) their token ids.
        branches: For edits at one position with one length after it, their numbers among all
            edits, and the edited sequences from there on; rows count within the group.
        room: The most positions by which an edit makes a sequence longer.
    """

    rows: np.ndarray
    ids: Tensor
    branches: list[tuple[np.ndarray, Branches]]
    room: int

    @property
    def first(self) -> int:
        """The first position at which a branch starts; L without any."""
        return min((int(some.starts[0]) for _, some in self.branches), default=self.ids.shape[1])


def edit_groups(
    sequences: Sequence[str],
    edits: Sequence[Edit],
    device: str | torch.device = "cpu",
    after: Sequence[int] = (),
) -> Iterator[EditGroup]:
    """Yield all sequences, a few of one length at a time, with their edits.

    Args:
        sequences: N sequences over ACGTN, none of them empty.
        edits: Edits that leave at least one base.
        device: Where the token ids are wanted.
        after: Token ids that follow every sequence.
    """
    of_row = defaultdict(list)
    for number, edit in enumerate(edits):
        of_row[edit.row].append(number)
    lengths = np.array([len(sequence) for sequence in sequences])
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        size = max(1, POSITIONS // int(length))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            numbers = [number for row in some for number in of_row[row]]
            yield _group(sequences, edits, some, numbers, device, after)


def _group(
    sequences: Sequence[str],
    edits: Sequence[Edit],
    rows: np.ndarray,
    numbers: list[int],
    device: str | torch.device,
    after: Sequence[int],
) -> EditGroup:
    encoded = np.stack([np.append(encode_dna(sequences[row]), after) for row in rows])
    encoded = encoded.astype(np.int64)
    place = {int(row): i for i, row in enumerate(rows)}
    alike: dict[tuple[int, int], list[tuple[int, int, np.ndarray]]] = defaultdict(list)
    room = 0
    for number in numbers:
        edit = edits[number]
        row, start = place[edit.row], edit.start
        tail = np.concatenate([encode_dna(edit.letters), encoded[row, edit.end :]])
        if not len(tail):  # a deletion of the end: its last base starts the branch
            start -= 1
            tail = encoded[row, start : start + 1]
        alike[start, len(tail)].append((number, row, tail))
        room = max(room, edit.growth)
    branches = []
    for (start, _), found in alike.items():
        of_edits, of_rows, tails = zip(*found, strict=True)
        some = Branches(
            torch.tensor(of_rows, device=device),
            torch.full((len(found),), start, device=device),
            torch.from_numpy(np.stack(tails)).to(device),
        )
        branches.append((np.array(of_edits), some))
    return EditGroup(rows, torch.from_numpy(encoded).to(device), branches, room)
