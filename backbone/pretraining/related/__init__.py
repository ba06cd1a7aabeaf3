"""Rows of several related windows: a model that reads them learns to adapt to its context."""
