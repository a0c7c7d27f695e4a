"""What an observer of shared gradients can infer about the private data."""

__version__ = "0.1.0"
