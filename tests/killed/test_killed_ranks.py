"""Two ranks of which one is killed at any moment go on and end as if nobody had touched them."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from runs import LONG, Left, Whole, beside, checkpoints, finish, words_of
from served import Run, Server, members, wait_until

KILLS = 5 if LONG else 2
RANKS = {"trainer.devices": 2}


def ranks_of(run: Run) -> list[int]:
    """The processes of training, in the order of their start."""
    return sorted(members(run.pid).keys() - beside(run.pid))


def test_two_ranks_of_which_any_is_killed_end_as_two_that_were_not(
    server: Server, root: Path, tmp_path: Path
) -> None:
    whole = Whole.of(server, words_of(root, tmp_path, **RANKS), tmp_path)
    rng = random.Random(0)
    kills, runs, victims = 0, 0, set()
    while kills < KILLS:
        logs = tmp_path / f"run{runs}"
        while True:
            run = Run.start(server, words_of(root, logs, **RANKS), tmp_path / "log")
            moment = rng.uniform(0, whole.seconds) if kills < KILLS else 300
            code = run.wait(moment)
            ranks = ranks_of(run)
            if code is not None or not ranks:
                break
            victim = min(kills % 2, len(ranks) - 1)  # the other one may not have begun
            run.end(signal.SIGKILL, ranks[victim])
            kills += 1
            victims.add(victim)
        assert run.wait(10) == 0, run.said()
        run.check_gone()
        Left.of(logs).check_same(whole.left)
        runs += 1
    assert victims == {0, 1}


def test_a_process_beside_one_rank_that_is_killed_ends_both_with_its_sentence(
    server: Server, root: Path, tmp_path: Path
) -> None:
    """The others are told where all meet: none waits for ever for one that knows."""
    words = words_of(root, tmp_path, **RANKS)
    run = Run.start(server, words, tmp_path / "log")
    wait_until(lambda: len(beside(run.pid)) == 2, 100)
    wait_until(lambda: len(list(tmp_path.rglob("round_00001.*"))) > 0, 100)
    os.kill(max(beside(run.pid)), signal.SIGKILL)
    # Which of the ranks is the first to end with it is open; Lightning then kills the others.
    assert run.wait(100) in (2, -signal.SIGKILL), run.said()
    run.check_gone()
    assert "error: attack" in run.said()
    assert "Traceback" not in run.said().partition("attack.background")[0]
    assert checkpoints(tmp_path)
    finish(server, words, tmp_path)
    Left.of(tmp_path)
