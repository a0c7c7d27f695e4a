"""Generators that write files in the official layouts, one file a set."""
