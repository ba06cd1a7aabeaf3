"""The prefix engine: a shared or frozen context is encoded once, exactly."""
