"""HyenaDNA: configuration, tokenizer, operator, model, checkpoints."""
