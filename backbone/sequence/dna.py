"""DNA as text: which letters count, and the only reverse complement of a string."""

from backbone.common.errors import InputError

ALPHABET = "ACGTN"
"""The letters a cleaned sequence consists of."""

_AMBIGUOUS = "RYSWKMBDHV"
_CLEAN = str.maketrans("U" + _AMBIGUOUS, "T" + "N" * len(_AMBIGUOUS))
_DROP_KNOWN = str.maketrans("", "", ALPHABET + "U" + _AMBIGUOUS)
_DROP_BUT_AMBIGUOUS = str.maketrans("", "", ALPHABET + "U")
_COMPLEMENT = str.maketrans("ACGTNacgtn", "TGCANtgcan")


def normalise(sequence: str, row: int = 0) -> tuple[str, int]:
    """Cleans one sequence: upper case, U becomes T, other IUPAC letters become N.

    Args:
        sequence: DNA or RNA as text.
        row: where the sequence stands in its table, counted from 0; only named in the error.

    Returns:
        The sequence over ACGTN and the number of IUPAC letters that became N.

    Raises:
        InputError: for any other character, with its row and its 1-based position.
    """
    upper = sequence.upper()
    unknown = upper.translate(_DROP_KNOWN)
    if unknown:
        position = upper.index(unknown[0])
        raise InputError(
            f"row {row}, position {position + 1}: {sequence[position]!r} is no nucleotide letter; "
            f"use A, C, G, T, U, N or another IUPAC code"
        )
    return upper.translate(_CLEAN), len(upper.translate(_DROP_BUT_AMBIGUOUS))


def reverse_complement(sequence: str) -> str:
    """Returns the opposite strand, read in its own direction; N stays N, case is kept."""
    return sequence.translate(_COMPLEMENT)[::-1]


def gc_content(sequence: str) -> float:
    """Returns the share of G and C among the letters A, C, G and T; 0.5 if there is none."""
    gc = sequence.count("G") + sequence.count("C")
    known = gc + sequence.count("A") + sequence.count("T")
    return gc / known if known else 0.5
