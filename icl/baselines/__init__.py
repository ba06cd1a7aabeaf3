"""Code shared by the baseline methods."""
