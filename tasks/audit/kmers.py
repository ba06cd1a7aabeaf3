"""Words of fixed length in many sequences at once, as numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

UNKNOWN = 4
"""Code of N, and of what stands between two sequences."""

LONGEST = 16
"""Letters of the longest word: as many as fit into 32 bits."""

_CODE = np.full(256, UNKNOWN, dtype=np.uint8)
_CODE[list(b"ACGT")] = range(4)


@dataclass(frozen=True)
class Text:
    """Sequences one after the other, each followed by one letter that is unknown.

    Attributes:
        codes: (L,) uint8: 0 to 3 for A, C, G, T, and `UNKNOWN`.
        starts: (N,) where each sequence begins.
        lengths: (N,) how long each is.
        first: Number of the first sequence, in a block of a longer text.
    """

    codes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    first: int = 0

    def row(self, places: np.ndarray) -> np.ndarray:
        """Number of the sequence that holds each place of the text."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def blocks(self, letters: int) -> "Iterator[Text]":
        """Pieces of whole sequences, of so many letters or of one longer sequence."""
        ends = self.starts + self.lengths + 1
        begin = 0
        while begin < len(ends):
            start = self.starts[begin]
            end = max(begin + 1, int(np.searchsorted(ends, start + letters, side="right")))
            codes = self.codes[start : ends[end - 1]]
            starts, lengths = self.starts[begin:end] - start, self.lengths[begin:end]
            yield Text(codes, starts, lengths, self.first + begin)
            begin = end


def text_of(sequences: Sequence[str]) -> Text:
    """Put cleaned sequences one after the other."""
    joined = "".join(f"{sequence}N" for sequence in sequences).encode("ascii")
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
    return Text(_CODE[np.frombuffer(joined, dtype=np.uint8)], starts[: len(lengths)], lengths)


@dataclass(frozen=True)
class Words:
    """The words of a text that hold no unknown letter.

    Attributes:
        places: (W,) where in the text each begins.
        codes: (W,) uint32, the word read as a number to base 4.
        opposite: (W,) uint32, the same of its reverse complement.
    """

    places: np.ndarray
    codes: np.ndarray
    opposite: np.ndarray


def words_of(text: Text, kmer: int) -> Words:
    """All words of `kmer` letters, at most `LONGEST`, in the order of the text."""
    n = max(len(text.codes) - kmer + 1, 0)
    unknown = np.concatenate([[0], np.cumsum(text.codes == UNKNOWN, dtype=np.int32)])
    places = np.flatnonzero(unknown[kmer:] == unknown[:-kmer]) if n else np.empty(0, dtype=np.int64)
    letters = (text.codes & 3).astype(np.uint32)
    return Words(places, _joined(letters, kmer)[places], _joined(3 - letters, -kmer)[places])


def _joined(letters: np.ndarray, kmer: int) -> np.ndarray:
    """The word from each place on as a number; read backwards if `kmer` is negative."""
    size, sign = abs(kmer), np.sign(kmer)
    if size == 1:
        return letters
    half = size // 2
    word = _joined(letters, sign * half)
    n = len(letters) - size + 1
    one, two = word[: max(n, 0)], word[half : half + max(n, 0)]
    first, second = (one, two) if sign > 0 else (two, one)
    joined = (first << np.uint32(2 * half)) | second
    if size == 2 * half:
        return joined
    last = letters[2 * half : 2 * half + max(n, 0)]
    if sign > 0:
        return (joined << np.uint32(2)) | last
    return joined | (last << np.uint32(4 * half))


def word_counts(sequences: Sequence[str], kmer: int) -> np.ndarray:
    """How often each word or its reverse complement is in each sequence, (N, W) float64.

    The smaller of the two stands for both, so a sequence and its other strand have equal counts.

    Args:
        sequences: N cleaned sequences; words with an N are not counted.
        kmer: Letters of a word.
    """
    text = text_of(sequences)
    words = words_of(text, kmer)
    cells = text.row(words.places) * 4**kmer + np.minimum(words.codes, words.opposite)
    counts = np.bincount(cells, minlength=len(sequences) * 4**kmer).reshape(-1, 4**kmer)
    every = words_of(Text(_all_words(kmer), np.array([0]), np.array([kmer + 1])), kmer)
    return counts[:, np.unique(np.minimum(every.codes, every.opposite))].astype(np.float64)


def _all_words(kmer: int) -> np.ndarray:
    """A text that holds every word."""
    digits = np.arange(4**kmer)[:, None] // 4 ** np.arange(kmer) % 4
    return np.pad(digits.astype(np.uint8), ((0, 0), (0, 1)), constant_values=UNKNOWN).ravel()
