"""The tuning loop, adapters and tuned copies of the backbone."""
