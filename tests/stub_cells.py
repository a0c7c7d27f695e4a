"""Sweeps whose cells are a small program, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

# A cell waits `seconds`, or until it is told to go on, and leaves a table; each start of one is a
# line of starts.txt.
STUB = """
import os, sys, time
from pathlib import Path
out, folder, name, seconds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
assert not [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]
with open(out / "starts.txt", "a") as file:
    file.write(f"{name} {os.getpid()}\\n")
began = time.time()
while time.time() < began + seconds and not (out / "go").exists():
    time.sleep(0.02)
if name == "bad":
    print("something\\nerror: attack.k: no good\\nsomething else")
    sys.exit(2)
if name == "silent":
    sys.exit(0)
(folder / "attack.csv").write_text(
    "round,step,rounds,secret,k,others,defense,knowledge,adversary,layers,group,metric,value,low,"
    "high,n,units,note\\n"
    "0,0,alone,sex,1,0,sign,static,A,all,all,auroc,0.8,,,9,9,\\n"
    "0,0,alone,sex,1,0,sign,adaptive,A,all,all,auroc,0.75,,,9,9,\\n"
    "0,0,alone,sex,1,0,sign,adaptive,A,all,all,gain,0.25,,,9,9,\\n"
    "0,0,alone,sex,1,0,sign,adaptive,B,all,all,auroc,0.7,,,9,9,\\n"
    "0,0,alone,sex,1,0,sign,adaptive,B,all,all,gain,0.375,,,9,9,\\n"
)
"""
SWEEP = """
import os, signal, sys
from pathlib import Path
from leakage.sweep.board import Board
from leakage.sweep.cells import Cell
from leakage.sweep.grid import Plan
from leakage.sweep.running import play
from leakage.sweep.settings import Sweep

# As in a terminal: where tests run in the background of a script, Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
out, seconds, jobs, names = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]

class Stub(Cell):
    @property
    def program(self):
        stub = str(self.folder.parent.parent / "stub.py")
        return [sys.executable, stub, str(out), str(self.folder), self.key, seconds]

cells = [Stub(Plan({}, 0, ["fit"]), name, out / "cells" / name, "x: 1") for name in names]
board = Board(len(cells), sys.stderr)
slurm = {"timeout_min": 5, "slurm_partition": os.environ.get("PARTITION", "long")}
where = os.environ.get("CLUSTER", "local")
play(cells, Sweep(["x"], str(out), jobs=jobs, cluster=where, slurm=slurm), board)
print({key: (told.word, told.figure, told.sentence) for key, told in board.standings.items()})
"""


def start(
    out: Path,
    names: str,
    *,
    seconds: float,
    jobs: int = 1,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """A sweep of cells with these names; `bad` and `silent` fail.

    Args:
        out: its folder; a file `go` in it ends all waiting.
        names: of the cells.
        seconds: that each waits.
        jobs: side by side.
        environment: of the sweep, where it is not that of this process.
    """
    (out / "stub.py").write_text(STUB)
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(out), str(seconds), str(jobs), *names.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=None if environment is None else dict(environment),
    )


def end(sweep: subprocess.Popen[str]) -> tuple[str, str]:
    """What it has printed, once it has ended well."""
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, err
    return out, err


def starts(out: Path) -> list[str]:
    """A line for each start of a cell: its name and its process."""
    path = out / "starts.txt"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Looks often, and not for ever."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(number: int) -> bool:
    """Whether a process runs."""
    with suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    return False


@contextmanager
def no_orphans(out: Path) -> Iterator[None]:
    """Ends what a test that failed has left."""
    try:
        yield
    finally:
        for line in starts(out):
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[1]), signal.SIGKILL)
