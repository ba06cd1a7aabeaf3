"""The audit: what a classifier could exploit in a split of rows."""
