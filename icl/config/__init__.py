"""Options of a run, its command line and its help."""
