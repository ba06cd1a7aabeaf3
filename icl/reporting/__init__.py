"""The report of a run, its summary table and its verdicts."""
