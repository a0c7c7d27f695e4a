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
(folder / "attack.csv").write_text("round,k,others,layers,group,knowledge,metric,value\\n"
                                   "0,1,0,all,all,static,auroc,0.8\\n"
                                   "0,1,0,all,all,adaptive,auroc,0.75\\n")
"""
SWEEP = """
import os, sys
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
slurm = {"timeout_min": 5, "slurm_partition": "long"}
where = os.environ.get("CLUSTER", "local")
play(cells, Sweep(["x"], str(out), jobs=jobs, cluster=where, slurm=slurm), board)
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
    return out, *end(start(out, "one bad two silent three", seconds=0.1, jobs=2))


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
        first = start(tmp_path, "one two", seconds=60)
        wait_for(lambda: starts(tmp_path))
        first.kill()
        first.wait()
        second = start(tmp_path, "one two", seconds=60)
        assert second.stderr is not None
        assert "running" in second.stderr.readline()  # as far as it knows
        (tmp_path / "go").touch()
        out, _ = end(second)
    assert [line.split()[0] for line in starts(tmp_path)] == ["one", "two"]
    assert {word for word, _, _ in eval(out).values()} == {"finished"}


def test_a_cell_that_was_left_alone_is_not_played_by_two_at_once(tmp_path: Path) -> None:
    """All but the cell itself was killed, so nobody takes down that it was finished."""
    with no_orphans(tmp_path):
        first = start(tmp_path, "one", seconds=60)
        wait_for(lambda: starts(tmp_path))
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        second = start(tmp_path, "one", seconds=60)
        assert second.stderr is not None
        assert "running" in second.stderr.readline()  # as far as it knows
        time.sleep(2)
        assert len(starts(tmp_path)) == 1
        (tmp_path / "go").touch()
        end(second)
    assert len(starts(tmp_path)) == 2


def test_as_many_cells_as_jobs_are_under_way_and_end_with_an_interrupted_sweep(
    tmp_path: Path,
) -> None:
    with no_orphans(tmp_path):
        sweep = start(tmp_path, "one two three", seconds=60, jobs=2)
        wait_for(lambda: len(starts(tmp_path)) == 2)
        cells = [int(line.split()[1]) for line in starts(tmp_path)]
        time.sleep(2)  # a third would start meanwhile
        assert len(starts(tmp_path)) == 2
        assert all(map(alive, cells))
        os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
        _, err = sweep.communicate(timeout=30)
        assert err.count("Traceback") == 1  # that of the sweep itself
        assert not any(map(alive, cells))
    assert not list(tmp_path.glob("cells/*/finished.json"))


# A SLURM that starts every task of an array at once, here.
PROGRAMS = {
    "sbatch": """
cp "$1" $FAKE/submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
for i in $(seq 0 $last); do
    export SLURM_JOB_ID=$((100 + i)) SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i SLURM_NTASKS=1
    export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
    bash $FAKE/submitted.sh > $FAKE/$i.out 2>&1 &
done
echo Submitted batch job 7
""",
    "srun": """
while [[ $1 == -* ]]; do [[ $1 == --unbuffered ]] || shift; shift; done
exec "$@"
""",
    "sacct": "echo 'JobID|State|NodeList'; for i in 0 1 2; do echo \"7_$i|RUNNING|n\"; done",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("CLUSTER", "slurm")
    return tmp_path


def test_under_slurm_cells_are_the_tasks_of_one_array(slurm: Path) -> None:
    with no_orphans(slurm):
        out, err = end(start(slurm, "one bad two", seconds=0.1, jobs=2))
    told = eval(out)
    assert [told[name][0] for name in ("one", "bad", "two")] == ["finished", "failed", "finished"]
    assert told["bad"][2] == "attack.k: no good"
    assert "job 7_0" in err
    asked = (slurm / "submitted.sh").read_text()
    assert "#SBATCH --array=0-2%2\n" in asked
    assert "#SBATCH --partition=long\n" in asked


def test_what_slurm_refuses_is_told_in_its_words(slurm: Path) -> None:
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'error: no partition long' >&2\nexit 1\n")
    sweep = start(slurm, "one two", seconds=0)
    _, err = sweep.communicate(timeout=60)
    assert "LeakageError: cluster slurm: it takes no job: error: no partition long" in err


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
