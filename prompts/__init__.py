"""Prompts: label words, templates and learned vectors."""
