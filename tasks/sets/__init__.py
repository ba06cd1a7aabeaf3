"""The registered data sets, one module per collection."""
