"""The backbone as a featurizer, layer by layer."""
