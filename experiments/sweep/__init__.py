"""Sweeps: grids and searches by workers that share a study."""
