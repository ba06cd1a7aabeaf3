"""The options of how class scores are read off the backbone."""

from dataclasses import dataclass

from backbone.common.options import option

NORMALISATIONS = ("sqrt", "base", "sum")
"""Divisors of a log-likelihood: the square root of the number of counted bases, that number, 1."""

NORMALISATION = (
    "with readout=channel, divide the log-likelihood by the square root of the number of bases, by "
    "that number, or by 1; auto: whichever fits the validation rows best"
)
"""Help of the option."""


@dataclass
class ReadoutConfig:
    """How class scores are read off the backbone."""

    readout: str = option(
        "direct",
        "direct: likelihood of the label words after the query; channel: likelihood of the "
        "query after the prompt of each class",
        choices=("direct", "channel"),
    )
    normalisation: str = option("sqrt", NORMALISATION, choices=(*NORMALISATIONS, "auto"))
