"""Speed measured as a ratio of two paths in one run."""
