"""The prefix engine, which encodes a shared or frozen context once, and token-by-token reading."""
