"""Few-shot curves: Matthews correlation and AUROC against shots, over many sets."""
