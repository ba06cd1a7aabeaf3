"""What needs no torch: errors, options on the command line, whole files."""
