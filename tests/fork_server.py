"""Starts `leakage` as forks of a process that has imported it, as imports take longer than runs.

`python fork_server.py` answers lines of JSON. What a run starts are forks too: the process beside
training, made before anything has run in it, further ranks, and modules, which are the jobs and the
cells of a sweep. Pictures, which take most of the time of a short run, are not drawn.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

import leakage.background.work
import leakage.cli.commands  # what `main` imports late
from leakage.background.__main__ import main as play_beside
from leakage.report import board

_LOOK = 0.02  # seconds
_popen = subprocess.Popen


class Fork(subprocess.Popen[bytes]):
    """A process that calls a function, with only these files open; the rest is as of Popen."""

    def __init__(self, function: Callable[[], object], files: Sequence[int] = ()) -> None:
        self.args, self.returncode = ["fork"], None
        self.stdin = self.stdout = self.stderr = None
        self._waitpid_lock, self._sigint_wait_secs = threading.Lock(), 0.25
        self.pid = os.fork()
        if self.pid == 0:
            _become(function, {0, 1, 2, *files})


def _become(function: Callable[[], object], files: set[int]) -> None:
    """Calls the function as `python -m` would, and ends."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for path in list(Path("/proc/self/fd").iterdir()):
            if int(path.name) not in files:
                with suppress(OSError):  # that of the list is closed
                    os.close(int(path.name))
        function()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Spare:
    """A process that waits until it is to be the one beside training."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.process = Fork(lambda: self._wait(theirs), [theirs.fileno()])
        theirs.close()

    def _wait(self, line: socket.socket) -> None:
        os.nice(1)  # by which it is known, until it is as nice as it will be
        told, files, _, _ = socket.recv_fds(line, 1024, 1)
        if told:  # else the run has ended
            _, parent, niceness = map(int, told.split())
            line.close()
            play_beside(files[0], parent, niceness)

    def take(self, words: Sequence[str], handle: int) -> Fork:
        socket.send_fds(self._ours, [" ".join(words).encode()], [handle])
        self._ours.close()
        return self.process


def _run_module(words: Sequence[str], settings: Mapping[str, Any]) -> None:
    """What `python -m` does with a module and its words, started with settings of `Popen`."""
    if settings.get("start_new_session"):
        os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = settings.get(name)
        if file is not None:
            os.dup2(number - 1 if file == subprocess.STDOUT else file.fileno(), number)
    environment = settings.get("env") or dict(os.environ)
    if words[0] == "leakage":
        _run(words[1:], environment)
        return
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__")


def _run(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """What `python -m leakage` does with these words."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["leakage", *words]
    sys.path[0] = str(Path.cwd())
    spare = Spare()

    def start(command: Sequence[str], **settings: Any) -> subprocess.Popen[bytes]:
        if "leakage.background" in command:
            return spare.take(command[-3:], *settings["pass_fds"])
        if "LOCAL_RANK" in (settings.get("env") or {}):
            return Fork(lambda: _run(words, settings["env"]))
        if "-m" in command:
            files = [settings[name] for name in ("stdout", "stderr") if name in settings]
            kept = [file.fileno() for file in files if hasattr(file, "fileno")]
            rest = command[list(command).index("-m") + 1 :]
            return Fork(lambda: _run_module(rest, settings), [*kept, *settings.get("pass_fds", ())])
        return _popen(command, **settings)

    subprocess.Popen = start  # type: ignore[assignment, misc]
    SummaryWriter.add_figure = lambda *_, **__: None  # type: ignore[method-assign]
    for name in ("roc", "calibration", "posterior", "exposure"):
        setattr(board, f"{name}_figure", lambda *_: None)
    leakage.cli.main()


def _start(words: Sequence[str], log: str, kill_at: int | None, folder: str | None) -> Fork:
    def go() -> None:
        os.setsid()
        os.chdir(folder or ".")
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for name in (1, 2):
            os.dup2(file, name)
        if kill_at is not None:
            _end_within_a_write(kill_at)
        _run(words, dict(os.environ))

    return Fork(go)


def _end_within_a_write(number: int) -> None:
    """Ends the process before it forces the n-th file to disk, which then gets its name."""
    left, force = [number], os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        force(handle)

    os.fsync = fsync


def main() -> None:
    """Starts runs and waits for them, until nobody asks any more."""
    runs: dict[int, Fork] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = None
        if asked.get("words"):
            run = _start(**asked)
            runs[run.pid] = run
            answer = run.pid
        elif "wait" in asked:
            run, until = runs[asked["wait"]], time.monotonic() + asked["seconds"]
            while run.poll() is None and time.monotonic() < until:
                time.sleep(_LOOK)
            answer = run.returncode
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
