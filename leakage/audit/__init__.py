"""Audit: the least privacy loss that can be proved, by canaries whose release is guessed."""
