"""The command line: `python -m leakage fit`, `validate`, `test`, `audit`, `standin`, `report`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from typing_extensions import override

from leakage.errors import LeakageError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; what is wrong with the input is one sentence and exit code 2."""
    _show_log()
    words = sys.argv[1:] if args is None else list(args)
    # What a command needs is imported for it alone: a report does not wait for torch.
    if words[:1] != ["report"]:
        from leakage.cli.commands import run_command

        run_command(args)
        return
    from leakage.cli.reporting import report

    try:
        code = report(words[1:])
    except (LeakageError, OSError) as error:  # OSError names its file
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if code:
        sys.exit(code)


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
