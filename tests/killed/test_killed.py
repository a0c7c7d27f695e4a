"""A run that is killed at any moment goes on and ends as if nobody had touched it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import EPOCHS, LONG, Left, Whole, beside, checkpoints, finish, words_of
from served import GRACE, Run, Server, members, wait_until

KILLS = 20 if LONG else 5
MOST_WRITES = 30  # training may be far ahead of the attack
PLAYED = "adult/version_0/attack/round_{:05d}.safetensors"


@pytest.fixture(scope="module")
def whole(server: Server, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    logs = tmp_path_factory.mktemp("whole")
    return Whole.of(server, words_of(root, logs), logs)


def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_was_not(
    server: Server, root: Path, whole: Whole, tmp_path: Path
) -> None:
    rng = random.Random(0)
    kills, runs = 0, 0
    while kills < KILLS:
        logs = tmp_path / f"run{runs}"
        logs.mkdir()
        while True:
            run = Run.start(server, words_of(root, logs), logs / "log")
            moment = rng.uniform(0, whole.seconds) if kills < KILLS else 200
            code = run.wait(moment)
            if code is None:
                code = run.end()
            if code != -signal.SIGKILL:  # it was over before
                break
            kills += 1
        assert code == 0, run.said()
        run.check_gone()
        Left.of(logs).check_same(whole.left)
        runs += 1


def test_a_run_that_is_killed_within_its_writes_ends_as_one_that_was_not(
    server: Server, root: Path, whole: Whole, tmp_path: Path
) -> None:
    """Each start comes one file further than the one before, and ends before it has its name."""
    within: set[str] = set()
    for number in range(MOST_WRITES):
        run = Run.start(server, words_of(root, tmp_path), tmp_path / "log", kill_at=number)
        assert run.wait(200) == -signal.SIGKILL, run.said()
        run.check_gone()
        [part] = tmp_path.rglob("*.part")  # those of earlier ones are gone
        within.add(re.match(r"\.([a-z]+)", part.name)[1])  # type: ignore[index]
        if number >= 8 and "attack" in within:
            break
    assert within >= {"config", "round", "epoch", "attack"}
    finish(server, words_of(root, tmp_path), tmp_path)
    Left.of(tmp_path).check_same(whole.left)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes(255 - byte for byte in data[at : at + 8]) + data[at + 8 :]


@pytest.mark.parametrize("damage", [cut, flip])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(
    damage: Callable[[bytes], bytes], server: Server, root: Path, whole: Whole, tmp_path: Path
) -> None:
    shutil.copytree(whole.logs, tmp_path, dirs_exist_ok=True)
    before, newest = checkpoints(tmp_path)
    newest.write_bytes(damage(newest.read_bytes()))
    (tmp_path / "adult" / "version_0" / "attack.csv").unlink()
    played = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("attack/round_?????.safetensors")
    }
    assert len(played) == EPOCHS + 1
    run = finish(server, words_of(root, tmp_path), tmp_path)
    assert f"{newest} cannot be read: " in run.said()
    assert f"; the run goes on from {before.name}" in run.said()
    Left.of(tmp_path).check_same(whole.left)
    again = {path for path, at in played.items() if path.stat().st_mtime_ns != at}
    assert not again, "rounds were played again"


def the_run(run: Run) -> int:
    return run.pid


def the_process_beside_it(run: Run) -> int:
    [pid] = beside(run.pid)
    return pid


@pytest.mark.parametrize(
    ("signum", "victim", "code", "sentence"),
    [
        (signal.SIGINT, the_run, 1, "Detected KeyboardInterrupt, attempting graceful shutdown"),
        (signal.SIGTERM, the_run, 128 + signal.SIGTERM, ""),
        (
            signal.SIGKILL,
            the_process_beside_it,
            2,
            "error: attack.background: the process beside training was ended by SIGKILL, perhaps"
            " for want of memory; lower attack.memory or attack.cores, or set attack.background to"
            " false",
        ),
    ],
)
def test_a_run_that_is_stopped_leaves_a_checkpoint_and_no_process(
    signum: int,
    victim: Callable[[Run], int],
    code: int,
    sentence: str,
    server: Server,
    root: Path,
    whole: Whole,
    tmp_path: Path,
) -> None:
    words = words_of(root, tmp_path)
    run = Run.start(server, words, tmp_path / "log")
    wait_until((tmp_path / PLAYED.format(1)).exists, 100)
    ended = run.end(signum, victim(run))
    # After training, while rounds are played, nobody handles SIGTERM.
    assert ended == code or (ended == -signum and signum == signal.SIGTERM)
    assert "Traceback" not in run.said()
    assert sentence in run.said()
    assert checkpoints(tmp_path)
    finish(server, words, tmp_path)
    Left.of(tmp_path).check_same(whole.left)


def test_a_process_of_its_own_is_killed_in_the_midst_of_an_attack_and_ends_as_the_others(
    root: Path, whole: Whole, tmp_path: Path
) -> None:
    """Without the server: what is above holds for `python -m leakage`."""
    command = [sys.executable, "-m", "leakage", *words_of(root, tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
        start_new_session=True,
    )  # fmt: skip
    wait_until((tmp_path / PLAYED.format(0)).exists, 100)
    assert len(members(first.pid)) == 2
    first.kill()
    first.wait()
    wait_until(lambda: not members(first.pid), GRACE)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    Left.of(tmp_path).check_same(whole.left)
