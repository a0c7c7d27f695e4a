"""The process beside training: plays what it is given, in order, until nobody listens."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Line = Connection[Any, Any]

_LOOK = 1.0  # seconds between two looks at whether the parent is still there


def main(handle: int, parent: int, niceness: int) -> None:
    """Runs until the parent is gone.

    Args:
        handle: of the socket that the parent listens at.
        parent: its process id.
        niceness: what is added to that of the parent.
    """
    # Signals of a terminal or a scheduler reach all processes; when this one ends, the parent says.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.nice(niceness)
    line: Line = Connection(handle)
    given: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(line, parent, given), daemon=True).start()
    # After that, so that a parent that ends while libraries are loaded leaves no orphan.
    from leakage.background.work import work

    work(line, given)


def _watch(line: Line, parent: int, given: queue.SimpleQueue[bytes]) -> None:
    """Takes what the parent gives; ends the process at once when the parent is gone."""
    try:
        while os.getppid() == parent:
            if line.poll(_LOOK):
                given.put(line.recv_bytes())
    except (EOFError, OSError):
        pass
    os._exit(0)  # whatever the other thread is at: nobody waits for it


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
