"""Rounds that are played beside training, in a process of their own."""
