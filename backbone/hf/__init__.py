"""Causal language models of transformers as backbones: `backbone=hf:FOLDER_OR_ID`."""
