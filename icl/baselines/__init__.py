"""What the baseline methods share."""
