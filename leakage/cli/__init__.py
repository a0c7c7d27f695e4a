"""The command line: `python -m leakage --help` lists its commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from typing_extensions import override

from leakage.cli.overview import answered
from leakage.errors import LeakageError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; what is wrong with the input is one sentence and exit code 2."""
    _show_log()
    words = sys.argv[1:] if args is None else list(args)
    try:
        if answered(words):
            return
        if words[0] == "report":
            from leakage.cli.reporting import report

            if code := report(words[1:]):
                sys.exit(code)
            return
    except (LeakageError, OSError) as error:  # OSError names its file
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # What a command needs is imported for it alone: help and reports do not wait for torch.
    from leakage.cli.commands import run_command

    run_command(args)


class _Terminal(logging.Handler):
    """Writes to whatever the standard error is now; a StreamHandler keeps what it was."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def _show_log() -> None:
    """Shows the program's own log."""
    logger = logging.getLogger("leakage")
    if not logger.handlers:
        logger.addHandler(_Terminal())
    logger.setLevel(logging.INFO)
