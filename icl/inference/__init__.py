"""From rows to class scores through the backbone: prompts, batches, readouts."""
