"""Messages about an unknown name: the nearest known name instead of a list of all."""

from collections.abc import Iterable
from difflib import get_close_matches

from backbone.common.errors import InputError

FEW = 12
"""Names that a message lists where none of them is near."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "did you mean X?", or the first few known names where none is near.

    A dotted name is also compared by its last part, so that `lr` finds `method.lr`.
    """
    names = list(known)
    near = get_close_matches(name, names, n=1) or [
        one for one in names if one.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    if near:
        return f"did you mean {near[0]}?"
    if not names:
        return "there are none"
    return f"known: {', '.join(names[:FEW])}{', ...' if len(names) > FEW else ''}"


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is not known.

    Args:
        kind: What is named, as one word for the message: "task", "option".
        name: As it was given.
        known: The known names.
    """
    return InputError(f"unknown {kind} {name!r}; {suggestion(name, known)}")
