"""Where records come from, as far as the program knows: it made them up, or they were given."""

from __future__ import annotations


def origin(standin: bool) -> str:
    """In words; that given records are of real people is not for the program to say."""
    return "a stand-in: made-up records" if standin else "records as given"
