"""Imports of libraries that would set up the logging of the whole process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untouched_logging() -> Iterator[None]:
    """Undoes what an import does to the root logger.

    Opacus calls `logging.basicConfig`: every message would come twice on the command line, and a
    script's own call would come too late.
    """
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
