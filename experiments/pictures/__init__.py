"""Pictures drawn from tables of runs."""
