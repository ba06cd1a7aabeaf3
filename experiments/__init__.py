"""Sweeps, curves and measurements over many runs."""
