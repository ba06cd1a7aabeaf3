"""Metrics by kind of task, and bootstrap intervals."""
