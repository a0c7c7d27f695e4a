"""Ranks share the work of a round, and find what one process finds."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning import LightningModule
from populations import gaussian, population
from torch import Tensor, nn
from torch.nn import functional as F

from leakage.adversaries import LikelihoodRatio, LogisticRegression, RandomForest
from leakage.defenses import DP, Defense, NoDefense, Sign
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.source import Source
from leakage.player import Played, Player, Setting
from leakage.ranks import ALONE, Ranks
from leakage.rules import Game
from leakage.secrets import Membership, Property
from leakage.snapshot import Snapshot

SIZE = 3  # processes
TRIALS = 499  # which they cannot share equally
RECORDS = population(*gaussian(1_500, torch.tensor([1.0, 0.5, 0.0]), seed=0))


class Branched(LightningModule):
    """A branch that no loss uses; records have gradients of their own."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)
        self.dropout = nn.Dropout(dropout)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.layer(self.dropout(batch[0])), batch[1])


def game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": Property("a"),
        "k": 3,
        "rounds": [0],
        "shadow_batches": 101,
        "calibrate_batches": 100,
        "trials": TRIALS,
        "cores": 1,  # threads decide the last digits of a sum
        "adversaries": [LogisticRegression(), RandomForest(trees=3)],
    }
    return Game(**(defaults | settings))


CASES: dict[str, tuple[Game, Defense, LightningModule]] = {
    "records have gradients": (game(curve_k=[5], layer_map=True), NoDefense(), Branched()),
    "each batch by itself": (game(), Sign(), Branched(dropout=0.5)),
    "noise": (game(), DP(clip=1.0, sigma=1.0, delta=1e-5, batch=3), Branched()),
    "updates": (game(local_steps=2, local_batch=2, others=3), NoDefense(), Branched()),
    "targets": (
        game(secret=Membership(target="worst"), adversaries=[LikelihoodRatio()]),
        NoDefense(),
        Branched(),
    ),
    "fewer trials than processes": (game(trials=2), NoDefense(), Branched()),
    "memory for a few rows": (game(memory=0.001), NoDefense(), Branched()),
}


def play(case: str, ranks: Ranks = ALONE) -> Played:
    rules, defense, module = CASES[case]
    player = Player(Setting(rules, RECORDS, defense, Layout.of(module)))
    snapshot = Snapshot.of(module, Source(RECORDS.records), 0, 0)
    return player.play(snapshot, lambda step: None, ranks)


def share(folder: Path, rank: int) -> None:
    """What one of the processes does: plays every case, and leaves what it has found."""
    store = dist.FileStore(str(folder / "store"), SIZE)
    dist.init_process_group(
        "gloo", store=store, rank=rank, world_size=SIZE, timeout=timedelta(minutes=5)
    )
    ranks = Ranks(dist.group.WORLD)
    found: dict[str, Any] = {}
    for case in CASES:
        played = play(case, ranks)
        found[case] = [
            {
                "/".join((*key[0], *key[1:])): [torch.tensor(s) for s in seen.challenge]
                for key, seen in guesses.guesses.items()
            }
            for guesses in played.guesses
        ] + [played.broken, played.target]
    try:
        ranks.gather(lambda: 1 // (ranks.rank - 1))
    except ZeroDivisionError:
        found["error"] = "mine"
    except LeakageError as error:
        found["error"] = str(error)
    found["rows"] = ranks.rows(torch.arange(7.0)[:, None], lambda rows: rows * 10 + ranks.rank)
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), str(rank)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(SIZE)
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0] * SIZE
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(SIZE)]


@pytest.mark.parametrize("case", CASES)
def test_several_processes_find_what_one_finds(case: str, found: list[dict[str, Any]]) -> None:
    alone = play(case)
    for told in found:
        *matches, broken, target = told[case]
        assert (broken, target) == (alone.broken, alone.target)
        assert len(matches) == len(alone.guesses)
        for mine, guesses in zip(matches, alone.guesses, strict=True):
            assert list(mine) == ["/".join((*key[0], *key[1:])) for key in guesses.guesses]
            for scores, seen in zip(mine.values(), guesses.guesses.values(), strict=True):
                for one, other in zip(scores, seen.challenge, strict=True):
                    assert len(one) == CASES[case][0].trials  # every trial once
                    np.testing.assert_allclose(one.numpy(), other, rtol=1e-6, atol=1e-6)


def test_an_error_in_one_is_one_in_all(found: list[dict[str, Any]]) -> None:
    said = "rank 1: integer division or modulo by zero"
    assert [told["error"] for told in found] == [said, "mine", said]


def test_the_end_of_another_process_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        def rank(self) -> int:
            return 1

        def size(self) -> int:
            return 2

    def closed(*_: Any, **__: Any) -> None:
        raise RuntimeError("Connection closed by peer\nin some line of another language")

    monkeypatch.setattr("leakage.ranks.all_gather_object", closed)
    ranks = Ranks(Group())  # type: ignore[arg-type]
    with pytest.raises(LeakageError) as error:
        ranks.gather(int)
    assert str(error.value) == (
        "trainer.devices: rank 1 has lost another one, which says why if it could (Connection"
        " closed by peer)"
    )
    with pytest.raises(ZeroDivisionError):  # what this one knows says more
        ranks.gather(lambda: 1 // 0)


def test_rows_are_shared_in_order_and_each_is_computed_once(found: list[dict[str, Any]]) -> None:
    expected = [[0.0], [10], [20], [31], [41], [52], [62]]
    assert all(told["rows"].tolist() == expected for told in found)


if __name__ == "__main__":
    share(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # gloo's threads may abort a process that ends after another one
