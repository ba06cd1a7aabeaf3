"""Code shared by the experiments: command line, running many cells, points of a curve."""
