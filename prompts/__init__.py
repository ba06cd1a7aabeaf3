"""Prompts: label words, templates, demonstrations, learned vectors and calibration."""
