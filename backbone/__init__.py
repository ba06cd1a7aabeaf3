"""A HyenaDNA language model over single nucleotides; imports nothing of the other packages."""
