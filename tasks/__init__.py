"""Labelled DNA: tasks, their sources and their metrics; no torch."""
