"""The command line: `python -m leakage --help` lists its commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leakage.cli.overview import answered
from leakage.errors import LeakageError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line; what is wrong with the input is one sentence and exit code 2.

    Args:
        args: its words; those of the process where left out.
    """
    try:
        if answered(sys.argv[1:] if args is None else args):
            return
    except LeakageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from leakage.cli.commands import run_command  # torch and Lightning take seconds to import

    run_command(args)
