"""What the experiments share: command line, running many cells, points of a curve."""
