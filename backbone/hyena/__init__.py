"""HyenaDNA: configuration, tokenizer, operator, model, checkpoints, and the published form."""
