"""The audit: what a classifier could exploit in a division of rows."""
