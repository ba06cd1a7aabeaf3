"""The options of how class scores are read off the backbone."""

from dataclasses import dataclass

from backbone.common.options import option

NORMALISATIONS = ("sqrt", "base", "sum")
"""Divisors of a log-likelihood: the square root of the number of counted bases, that number, 1."""

NORMALISATION = (
    "with readout=channel, divide the log-likelihood by the bases' square root, count, or 1; auto: "
    "what fits the validation rows best"
)
"""Help of the option."""


@dataclass
class ReadoutConfig:
    """How class scores are read off the backbone."""

    readout: str = option(
        "direct",
        "direct: the label words after the query; channel: the query behind each class's prompt",
        choices=("direct", "channel"),
    )
    normalisation: str = option("sqrt", NORMALISATION, choices=(*NORMALISATIONS, "auto"))
