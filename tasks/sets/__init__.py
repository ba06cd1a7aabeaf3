"""The registered data sets, one module a collection."""
