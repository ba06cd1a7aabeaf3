"""Tasks made from a user's own tables, intervals, functions and packages."""
