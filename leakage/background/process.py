"""The parent's side: a process that plays rounds in order, and what it has to say."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from leakage.background.messages import Failed, Hello, Meeting, Open, Play, Result, Said, Step
from leakage.errors import LeakageError
from leakage.player import Played, Setting

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    Line = Connection[Any, Any]

_NICENESS = 10  # training has the cores first, and a busy machine leaves a tenth of one
_GRACE = 5.0  # seconds in which a process ends that is told to


class Background:
    """A process beside this one; it ends with it, however this one ends.

    It shares no memory and no module with training, ignores the signals of a terminal or a
    scheduler, and has the cores only when nobody else wants them.

    Attributes:
        waiting: rounds that it was given and has not answered for.
    """

    def __init__(self) -> None:
        ours, theirs = Pipe()
        handle = theirs.fileno()
        words = [str(handle), str(os.getpid()), str(_NICENESS)]
        # Whatever this process can import, by a way of its own too, that one can.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leakage.background", *words],
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            # Threads that wait are not to spin on the cores of training.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": paths},
        )
        theirs.close()
        self._line: Line = ours
        self.waiting = 0
        self._failure: LeakageError | None = None
        self._finalizer = weakref.finalize(self, _end, ours, self._process)
        self._send(Hello.here())

    def open(self, number: int, setting: Setting, meeting: Meeting | None = None) -> None:
        """Begins the match of an attack.

        Raises:
            Exception: whatever is in the setting cannot go to another process.
        """
        self._send(Open(number, cloudpickle.dumps(setting), meeting))

    def play(self, number: int, round_: int, snapshot: bytes, target: int | None) -> None:
        """Gives it a round, after those that it has."""
        self.waiting += 1
        self._send(Play(number, round_, snapshot, target=target))

    def recall(self, number: int, played: Played) -> None:
        """Gives it a round that was played before, to be graded with those that follow."""
        self.waiting += 1
        self._send(Play(number, played.round, played=played))

    def results(self, wait: float, progress: Callable[[Step], None]) -> list[Result]:
        """What it has answered since; at least one where it does within so many seconds.

        Raises:
            LeakageError: a round has failed, or the process has ended.
        """
        found: list[Result] = []
        while self._failure is None and self._line.poll(0 if found else wait):
            try:
                message = pickle.loads(self._line.recv_bytes())
            except (EOFError, OSError):
                self._failure = LeakageError(self._epitaph())
                break
            if isinstance(message, Said):
                logging.getLogger(message.name).log(message.level, "%s", message.text)
            elif isinstance(message, Step):
                progress(message)
            elif isinstance(message, Failed):
                self._failure = _error(message)
            else:
                self.waiting -= 1
                found.append(message)
            wait = 0
        if self._failure is not None and not found:  # else what came before it comes first
            raise self._failure
        return found

    def close(self) -> None:
        """Ends the process, whatever it is at."""
        self._finalizer()

    def _send(self, message: object) -> None:
        try:
            self._line.send_bytes(pickle.dumps(message))
        except (BrokenPipeError, ConnectionError):
            raise LeakageError(self._epitaph()) from None

    def _epitaph(self) -> str:
        code = self._process.wait(_GRACE)
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        return (
            f"attack.background: the process beside training was ended {how}, perhaps for want of"
            " memory; lower attack.memory or attack.cores, or set attack.background to false"
        )


def _error(failed: Failed) -> LeakageError:
    where = f"attack, round {failed.round}: " if failed.round >= 0 else ""
    if failed.trace:
        logging.getLogger("leakage.attack").error("%s", failed.trace)
    return LeakageError(f"{where}{failed.text}")


def _end(line: Line, process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):  # workers of a loader may hold it too: to close it is not enough
        socket.socket(fileno=os.dup(line.fileno())).shutdown(socket.SHUT_RDWR)
    line.close()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
