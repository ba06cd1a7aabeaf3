"""Runs: one method on one task, scored once, reported."""
