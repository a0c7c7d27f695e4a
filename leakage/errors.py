"""Errors that end a run with one sentence: where, what was found, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LeakageError(Exception):
    """A mistake in a config, a file or a model, told in one sentence.

    The command line prints the sentence alone and exits with code 2.
    """


class Requeued(Exception):  # noqa: N818 - it is no error
    """Training stops on purpose, and goes on from its checkpoint in a later run.

    The command line ends with exit code 0.
    """


def nearest(found: str, known: Iterable[str]) -> str:
    """Ends an error about an unknown name: the nearest known one, and the known ones.

    >>> nearest("sexx", ["race", "sex"])
    "did you mean 'sex'? Known: race, sex"
    """
    known = list(known)
    if not known:
        return "it has none"
    close = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}Known: {', '.join(known)}"
