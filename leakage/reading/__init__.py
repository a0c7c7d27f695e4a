"""What runs have left, read back: figures, claims, curves and comparisons."""
