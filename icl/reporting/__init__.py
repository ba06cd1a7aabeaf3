"""The report of a run, its summary table and the findings of its controls."""
