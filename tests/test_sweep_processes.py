"""Cells side by side, after a failure, a kill and Ctrl-C; a small program is played as each."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from stub_cells import alive, end, no_orphans, start, starts, wait_for

from leakage.sweep.cells import Attempt, Cell
from leakage.sweep.grid import Plan
from leakage.sweep.queue import Queue


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Two cells side by side of five, one of which fails and one of which leaves no figures."""
    out = tmp_path_factory.mktemp("mixed")
    return out, *end(start(out, "one bad two silent three", seconds=0.1, jobs=2))


def test_a_cell_that_fails_ends_no_other_and_is_told_by_its_sentence(
    mixed: tuple[Path, str, str],
) -> None:
    told = eval(mixed[1])
    good = ("finished", "AUROC 0.700, gain +0.375", "")
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
        _, err = sweep.communicate(timeout=120)  # a machine may be busy
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
    "squeue": "for i in 0 1 2; do echo 7_$i RUNNING; done",
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


# What SLURM says of its jobs


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what squeue prints; it fails where there is none."""
    (tmp_path / "squeue").write_text(f"#!/bin/bash\ncat {tmp_path / 'said'}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("leakage.sweep.queue._EVERY", 0.0)
    return tmp_path / "said"


def test_a_job_is_lost_that_is_missing_for_a_while_and_not_one_that_is_requeued(
    said: Path,
) -> None:
    queue = Queue()
    looks = ["7_0 RUNNING\n7_1 PENDING\n", "7_1 PENDING\n", "7_0 PENDING\n7_1 PENDING\n"]
    for look in looks:
        said.write_text(look)
        assert not queue.has_lost("7_0")
    said.write_text("7_1 PENDING\n")
    assert [queue.has_lost("7_0") for _ in range(3)] == [False, False, True]
    assert not queue.has_lost("7_1")


def test_no_job_is_lost_while_slurm_does_not_answer(said: Path) -> None:
    queue = Queue()
    assert not any(queue.has_lost("7_0") for _ in range(9))
    assert not queue.holds("7_0")
    said.write_text("7_0 COMPLETING\n7_1 RUNNING\n")
    assert [queue.holds(job) for job in ("7_0", "7_1")] == [False, True]


# A cell that is ended


def attempt(folder: Path, fruitless: int = 0) -> Attempt:
    """One that has begun to play a cell, and whose process is over."""
    cell = Cell(Plan({}, 0, ["fit"]), "key", folder, "")
    (folder / "checkpoints").mkdir(exist_ok=True)
    begun = Attempt(cell, {}, fruitless)
    begun._process = subprocess.Popen(["true"])
    begun._process.wait()
    begun._kept = cell.kept()
    return begun


def test_a_cell_that_comes_to_nothing_within_three_jobs_is_given_up_with_a_sentence(
    tmp_path: Path,
) -> None:
    for fruitless in range(2):
        delayed = attempt(tmp_path, fruitless).checkpoint()
        assert delayed is not None
        assert delayed.function._fruitless == fruitless + 1
    last = attempt(tmp_path, 2)
    assert last.checkpoint() is None
    assert last._cell.sentence == (
        "3 jobs were ended before the cell had come to a checkpoint; slurm.timeout_min: allow more"
    )


def test_a_cell_that_has_kept_something_goes_on_as_often_as_it_takes(tmp_path: Path) -> None:
    begun = attempt(tmp_path, 2)
    (tmp_path / "checkpoints" / "epoch=0.ckpt").touch()
    delayed = begun.checkpoint()
    assert delayed is not None
    assert delayed.function._fruitless == 0
    again = attempt(tmp_path, 1)
    (tmp_path / "attack").mkdir()
    for name in ("alone.answered", "weights"):  # each start writes them
        (tmp_path / "attack" / f"round_00001.{name}.safetensors").touch()
    delayed = again.checkpoint()
    assert delayed is not None
    assert delayed.function._fruitless == 2
    again = attempt(tmp_path, 2)
    (tmp_path / "attack" / "round_00001.safetensors").touch()  # a round that was played
    assert again.checkpoint() is not None
    waiting = Attempt(begun._cell, {}, 2)  # for another process that plays it
    assert waiting.checkpoint() is not None


def test_a_cell_that_was_killed_is_told_by_the_signal(tmp_path: Path) -> None:
    with no_orphans(tmp_path):
        sweep = start(tmp_path, "one", seconds=60)
        wait_for(lambda: starts(tmp_path))
        os.kill(int(starts(tmp_path)[0].split()[1]), signal.SIGKILL)
        out, _ = end(sweep)
    said = "its process was ended by SIGKILL, as a lack of memory does; the same sweep goes on"
    assert eval(out)["one"] == ("failed", "", f"{said} from there")


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("seed\nerror: attack.k: no good\nend\n", "attack.k: no good"),
        (
            'a\nTraceback (most recent call last):\n  File "x"\nRuntimeError: one\ntwo\n',
            "RuntimeError: one",
        ),
        ("a\nlast\n\n", "last"),
        ("", "it ended before it said anything"),
    ],
)
def test_a_failed_cell_is_told_by_what_its_log_says(
    log: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert Cell(Plan({}, 0, ["fit"]), "key", tmp_path, "").sentence == sentence


def test_a_job_that_is_lost_is_not_told_by_the_log_of_an_earlier_one(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "sbatch").write_text("#!/bin/bash\necho Submitted batch job 7\n")  # and loses it
    (slurm / "squeue").write_text("#!/bin/bash\n")
    (slurm / "cells" / "one").mkdir(parents=True)
    (slurm / "cells" / "one" / "log.txt").write_text("error: attack.k: no good\n")
    out, _ = end(start(slurm, "one", seconds=0))
    assert eval(out)["one"][2].startswith("job 7 ended before the cell was finished")


def test_a_cell_whose_attempt_was_killed_is_told_so_and_waited_for_by_the_next_sweep(
    tmp_path: Path,
) -> None:
    with no_orphans(tmp_path):
        sweep = start(tmp_path, "one", seconds=60)
        wait_for(lambda: starts(tmp_path))
        cell = int(starts(tmp_path)[0].split()[1])
        os.kill(parent_of(cell), signal.SIGKILL)
        out, _ = end(sweep)
        told = eval(out)["one"]
        assert told[0] == "failed"
        assert "it was cancelled, killed" in told[2]
        assert alive(cell)
        (tmp_path / "go").touch()
        out, _ = end(start(tmp_path, "one", seconds=60))
    assert eval(out)["one"][0] == "finished"


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
