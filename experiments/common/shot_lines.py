"""Names of the lines of the few-shot curve, which its tables and its pictures share."""

LIKELIHOODS = ("channel", "memory")
"""Readouts of few_shot that compare the likelihoods of a query."""

READOUTS = (*LIKELIHOODS, "direct")
"""Kinds of lines that are few_shot, by their readout."""

BEST = "markov, best order"
"""The order whose mean over the sets is highest: chosen on the rows that it is compared on."""
