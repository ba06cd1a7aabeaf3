"""Probes: questions that only their own context answers."""
