"""Small populations and modules whose games have a known answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from leakage.adversaries import LogisticRegression
from leakage.adversaries.posterior import Observed
from leakage.defenses import Defense, NoDefense
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.population import SPLITS, Population, Trait, split_by_unit
from leakage.releases import release
from leakage.rounds import Graded
from leakage.rules import Game
from leakage.secrets import Property

SHIFT = torch.tensor([0.5, -0.4, 0.3, 0.0, 0.2])
LINEAR = LogisticRegression()
SHARES = dict(zip(SPLITS, (0.05, 0.02, 0.03, 0.35, 0.2, 0.35), strict=True))


def population(
    x: Tensor,
    codes: Tensor,
    *,
    labels: Tensor | None = None,
    one_hot: tuple[int, ...] = (),
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
) -> Population:
    """Records x (N, d) with a trait `a` of codes (N,); one_hot: the columns of x that tell it."""
    n = len(x)
    labels = torch.arange(n) % 2 if labels is None else labels
    units = torch.arange(n)
    values = tuple(f"a{value}" for value in range(int(codes.max()) + 1))
    trait = Trait("a", values, codes, columns=one_hot, one_hot=one_hot)
    splits = split_by_unit(units, shares, torch.Generator().manual_seed(seed))
    return Population(
        "synthetic", TensorDataset(x, labels), labels, x, {"a": trait}, units, splits, standin=True
    )


def gaussian(n: int, shift: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """x ~ N(+-shift / 2, I) given a fair a: x (n, d) and codes (n,)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2, (n,), generator=generator)
    x = torch.randn(n, len(shift), generator=generator) + (codes.unsqueeze(1) - 0.5) * shift
    return x, codes


class LinearLoss(LightningModule):
    """L = mean w.x, so that the gradient of a batch is the mean of its records."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(features))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        return (x @ self.w).mean()


def linear_game(**settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": Property("a"),
        "k": 4,
        "rounds": [0],
        "shadow_batches": 2000,
        "calibrate_batches": 2000,
        "trials": 2000,
        "adversaries": [LINEAR],
    }
    return Game(**(defaults | settings))


class Recorder(GradientEngine):
    """Remembers which records were asked for."""

    asked: list[Tensor]

    def blocks(self, indices: Tensor, *args: Any, **settings: Any) -> Iterator[Tensor]:
        self.asked.append(indices)
        return super().blocks(indices, *args, **settings)


def play(
    game: Game,
    records: Population,
    module: nn.Module,
    defense: Defense | None = None,
    rounds: int = 1,
    spy: Callable[[Match, GradientEngine], None] = lambda match, engine: None,
) -> list[Graded]:
    """Plays some rounds on one state of a module, and returns what the last round graded."""
    match = Match(game, records, defense or NoDefense(), Layout.of(module))
    probe = records.splits["shadow_fit"][:4]
    engine = GradientEngine(module, records.records, probe, local=game.local)
    spy(match, engine)
    graded: list[Graded] = []
    for round_ in range(rounds):
        graded = match.judge(match.observe(round_, engine, at_once, lambda step: None))
    return graded


def at_once(task: Callable[[], Observed]) -> Future[Observed]:
    """Runs a guess where it is submitted."""
    future: Future[Observed] = Future()
    future.set_result(task())
    return future


def released(
    engine: GradientEngine, batches: Tensor, defense: Defense, generator: torch.Generator
) -> Tensor:
    """All releases at once, (n, p)."""
    return torch.cat(list(release(engine, batches, defense, generator)))


def pick(graded: list[Graded], name: str, rounds: str = "alone", knowledge: str = "") -> Graded:
    """The one result of a guesser."""
    found = [
        g
        for g in graded
        if g.name == name and g.rounds == rounds and (not knowledge or knowledge in g.knowledge)
    ]
    assert len(found) == 1, [(g.name, g.rounds, g.knowledge) for g in graded]
    return found[0]
