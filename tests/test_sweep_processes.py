"""Cells side by side, after a failure, a kill and Ctrl-C; a small program is played as each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from leakage.sweep.cells import Attempt, Cell
from leakage.sweep.grid import Plan

# A cell waits `seconds`, and leaves a table; each start of one is a line of starts.txt.
STUB = """
import sys, time
from pathlib import Path
out, folder, name, seconds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
import os
with open(out / "starts.txt", "a") as file:
    file.write(f"{name} {os.getpid()}\\n")
began = time.time()
time.sleep(seconds)
if name == "bad":
    print("something\\nerror: attack.k: no good\\nsomething else")
    sys.exit(2)
(folder / "times.txt").write_text(f"{began} {time.time()}")
if name == "silent":
    sys.exit(0)
(folder / "attack.csv").write_text("round,k,layers,group,knowledge,metric,value\\n"
                                   "0,1,all,all,static,auroc,0.75\\n")
"""
SWEEP = """
import sys
from pathlib import Path
from leakage.sweep.board import Board
from leakage.sweep.cells import Cell
from leakage.sweep.grid import Plan
from leakage.sweep.running import play
from leakage.sweep.settings import Sweep

out, seconds, jobs, names = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]

class Stub(Cell):
    @property
    def program(self):
        stub = str(self.folder.parent.parent / "stub.py")
        return [sys.executable, stub, str(out), str(self.folder), self.key, seconds]

cells = [Stub(Plan({}, 0, ["fit"]), name, out / "cells" / name, "x: 1") for name in names]
board = Board(len(cells), sys.stderr)
play(cells, Sweep(["x"], str(out), jobs=jobs), board)
print({key: (told.word, told.figure, told.sentence) for key, told in board.standings.items()})
"""


def start(out: Path, names: str, *, seconds: float, jobs: int = 1) -> subprocess.Popen[str]:
    (out / "stub.py").write_text(STUB)
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(out), str(seconds), str(jobs), *names.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(sweep: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, err
    return out, err


def starts(out: Path) -> list[str]:
    path = out / "starts.txt"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(number: int) -> bool:
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


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Two cells side by side of five, one of which fails and one of which leaves no figures."""
    out = tmp_path_factory.mktemp("mixed")
    return out, *end(start(out, "one bad two silent three", seconds=0.7, jobs=2))


def test_a_cell_that_fails_ends_no_other_and_is_told_by_its_sentence(
    mixed: tuple[Path, str, str],
) -> None:
    told = eval(mixed[1])
    good = ("finished", "AUROC 0.750", "")
    assert {told[name] for name in ("one", "two", "three")} == {good}
    assert told["bad"] == ("failed", "", "attack.k: no good")
    assert told["silent"] == ("failed", "", "its process ended with code 0 and no figures")


def test_where_there_is_no_terminal_each_change_is_a_line(mixed: tuple[Path, str, str]) -> None:
    lines = [line for line in mixed[2].splitlines() if "cells done" in line]
    assert len(lines) == 10  # each starts and ends
    assert lines[-1].startswith("5 of 5 cells done: seed=0: finished, ")


def test_no_more_cells_than_jobs_are_played_at_once(mixed: tuple[Path, str, str]) -> None:
    spans = [
        tuple(map(float, path.read_text().split())) for path in mixed[0].glob("cells/*/times.txt")
    ]
    assert len(spans) == 4
    assert max(sum(a <= began < b for a, b in spans) for began, _ in spans) <= 2


def test_a_finished_cell_is_not_played_again_and_a_failed_one_is(
    mixed: tuple[Path, str, str],
) -> None:
    out, *_ = mixed
    before = {path: path.stat().st_mtime_ns for path in (out / "cells" / "one").iterdir()}
    end(start(out, "one bad", seconds=0))
    counts = Counter(line.split()[0] for line in starts(out))
    assert counts == {"one": 1, "bad": 2, "two": 1, "silent": 1, "three": 1}
    assert {p: p.stat().st_mtime_ns for p in (out / "cells" / "one").iterdir()} == before


def test_a_cell_that_outlives_its_sweep_is_waited_for_and_not_played_twice(tmp_path: Path) -> None:
    with no_orphans(tmp_path):
        first = start(tmp_path, "one two", seconds=2)
        wait_for(lambda: starts(tmp_path))
        first.kill()
        first.communicate()
        out, _ = end(start(tmp_path, "one two", seconds=0))
    assert [line.split()[0] for line in starts(tmp_path)] == ["one", "two"]
    assert {word for word, _, _ in eval(out).values()} == {"finished"}


def test_a_cell_that_was_killed_with_its_sweep_is_played_again(tmp_path: Path) -> None:
    first = start(tmp_path, "one two", seconds=1)
    wait_for(lambda: len(starts(tmp_path)) == 2)
    os.killpg(first.pid, signal.SIGKILL)
    os.kill(int(starts(tmp_path)[1].split()[1]), signal.SIGKILL)
    first.communicate()
    end(start(tmp_path, "one two", seconds=0))
    assert [line.split()[0] for line in starts(tmp_path)] == ["one", "two", "two"]


def test_an_interrupted_sweep_ends_its_cells(tmp_path: Path) -> None:
    with no_orphans(tmp_path):
        sweep = start(tmp_path, "one two three", seconds=60, jobs=2)
        wait_for(lambda: len(starts(tmp_path)) == 2)
        cells = [int(line.split()[1]) for line in starts(tmp_path)]
        assert all(map(alive, cells))
        sweep.send_signal(signal.SIGINT)
        sweep.communicate(timeout=30)
        assert not any(map(alive, cells))
        assert len(starts(tmp_path)) == 2
    assert not list(tmp_path.glob("cells/*/finished.json"))


def test_what_a_cell_is_left_of_the_environment_makes_it_no_part_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would take the variables of the array for its own, and requeue the job."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("KEPT", "1")
    cell = Cell(Plan({}, 0, ["fit"]), "key", tmp_path, "")
    given = Attempt(cell, {"CUDA_VISIBLE_DEVICES": None})._variables()
    assert given["KEPT"] == "1"
    assert not {"SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"} & set(given)
