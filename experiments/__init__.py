"""Sweeps, curves and measurements over many runs."""

from typing import TYPE_CHECKING, Any

import icl  # noqa: F401  # finds our packages before others of the same name

if TYPE_CHECKING:
    from experiments.curve import draw_curve

__all__ = ["draw_curve"]


def __getattr__(name: str) -> Any:
    """Import what `__all__` names when it is first used, so that importing the package is fast."""
    if name == "draw_curve":
        from experiments.curve import draw_curve

        return draw_curve
    raise AttributeError(f"module 'experiments' has no attribute {name!r}")
