"""Code without torch: errors, command-line options, atomic files, schedules, random streams."""
