"""Runs of the command line that are forks of a process which has imported it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parent / "fork_server.py"
GRACE = 10.0  # seconds in which all that a run has started is gone


class Server:
    """The process that forks runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

        self.ask()  # it answers once all is imported

    def ask(self, **words: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Run:
    """One start of the command line.

    Args:
        server: that forked it.
        pid: its process id, and that of the session of all that it starts.
        log: what it and the runs before it have said.
    """

    server: Server
    pid: int
    log: Path

    @classmethod
    def start(
        cls,
        server: Server,
        words: list[str],
        log: Path,
        kill_at: int | None = None,
        folder: Path | None = None,
    ) -> Run:
        """Starts it in a folder; it ends itself within the n-th write of a file if one is given."""
        where = None if folder is None else str(folder)
        asked = {"words": words, "log": str(log), "kill_at": kill_at, "folder": where}
        return cls(server, server.ask(**asked), log)

    def wait(self, seconds: float) -> int | None:
        """The exit code, negative for a signal; None if it goes on after so many seconds."""
        code: int | None = self.server.ask(wait=self.pid, seconds=seconds)
        return code

    def end(self, signum: int = signal.SIGKILL, pid: int | None = None) -> int:
        """Sends a signal to it, or to a process of its own; its exit code once all are gone."""
        os.kill(self.pid if pid is None else pid, signum)
        code = self.wait(60)
        assert code is not None, f"it goes on after {signum!r}: {self.said()}"
        self.check_gone()
        return code

    def said(self) -> str:
        """All that this run and those before it have said, without what only a terminal shows."""
        return self.log.read_text() if self.log.exists() else ""

    def check_gone(self) -> None:
        """Nothing that it started is left after a while."""
        wait_until(lambda: not members(self.pid), GRACE)


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Looks until it is true, and not for ever."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not so after {seconds} s"
        time.sleep(0.02)


def members(session: int) -> dict[int, int]:
    """The niceness of the processes of a session that are not over, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found[int(path.parent.name)] = int(fields[16])
    return found


def shared_memory() -> set[str]:
    """The names of shared memory that no process uses."""
    named = {path.name for path in Path("/dev/shm").iterdir()}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            used = maps.read_text()
        except OSError:
            continue
        named -= {name for name in named if f"/dev/shm/{name}" in used}
    return named
