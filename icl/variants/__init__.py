"""What variants change: likelihood, hidden states, and the log-odds of a class."""
