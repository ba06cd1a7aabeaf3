"""Probes: tasks that can only be solved from their own context."""
