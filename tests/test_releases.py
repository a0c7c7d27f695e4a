"""Releases come in blocks: what an adversary gets does not depend on how many stand at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning import LightningModule
from populations import LinearLoss, Recorder, gaussian, pick, play, population, released
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from leakage.adversaries import LogisticRegression, RandomForest
from leakage.adversaries.looks import SEEN
from leakage.adversaries.views import CountSketch, FTest, View, Whole
from leakage.defenses import DP, Chain, Defense, NoDefense, Pruning, RecordPruning, Sign
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout, rows_at_once
from leakage.releases import Releases, reduced
from leakage.rules import Game
from leakage.secrets import Property

N, D, K = 40, 6, 4
WIDTH = 9_000  # so many entries that M takes a few rows at once
GENERATOR = torch.Generator().manual_seed(0)
DATA = TensorDataset(torch.randn(N, D, generator=GENERATOR), torch.arange(N) % 2)
BATCHES = torch.randint(N, (90, K), generator=GENERATOR)


class Wide(LightningModule):
    """A network with many entries; `middle` stands between its two layers."""

    def __init__(self, middle: nn.Module, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle = nn.Linear(D, width), middle
        self.second = nn.Linear(width, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.second(self.middle(self.first(x))), y)


def engine_of(middle: nn.Module, memory: int) -> GradientEngine:
    return GradientEngine(Wide(middle), DATA, torch.arange(4), memory=memory)


def all_at_once(middle: nn.Module) -> GradientEngine:
    engine = engine_of(middle, LARGE)
    engine.plan = replace(engine.plan, rows=len(BATCHES))
    return engine


SMALL, LARGE = 3 * 2**24, 2**30
PATHS: dict[str, Callable[[], nn.Module]] = {
    "factored": nn.Tanh,
    "batch-wise": lambda: nn.Dropout(0.5),
}
ENGINES = {path: (engine_of(make(), SMALL), all_at_once(make())) for path, make in PATHS.items()}
DEFENSES = [
    NoDefense(),
    Sign("random"),
    Pruning(0.01),
    RecordPruning(0.01),
    Chain([RecordPruning(0.1), Sign()]),
]


def test_the_small_memory_holds_some_rows_and_the_large_one_all() -> None:
    for path, (small, large) in ENGINES.items():
        assert small.plan.path == large.plan.path == path
        assert small.plan.rows < len(BATCHES) <= large.plan.rows
        assert small.plan.rows % rows_at_once(small.layout.p) == 0
        blocks = list(small.blocks(BATCHES, torch.Generator()))
        assert {len(block) for block in blocks[:-1]} == {small.plan.rows}


def test_a_block_is_no_larger_than_memory_that_is_used_again() -> None:
    whole = engine_of(nn.Tanh(), LARGE)
    row, step = 4 * whole.layout.p, rows_at_once(whole.layout.p)
    assert 2**24 < whole.plan.rows * row <= 24 * 2**20 < len(BATCHES) * row
    assert whole.plan.rows % step == 0
    wider = GradientEngine(Wide(nn.Tanh(), 2**18), DATA, torch.arange(4), memory=LARGE)
    assert wider.plan.rows == LARGE // 6 // (4 * wider.layout.p)  # it would be of too few rows


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: d.label)
@pytest.mark.parametrize("path", PATHS)
def test_a_release_does_not_depend_on_the_memory(path: str, defense: Defense) -> None:
    if path == "batch-wise" and defense.record_wise:
        return
    small, large = (
        released(engine, BATCHES, defense, torch.Generator().manual_seed(3))
        for engine in ENGINES[path]
    )
    if isinstance(defense, NoDefense):
        torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-7)
    else:  # entries of nearly equal size may change places
        assert ((small - large).abs() > 1e-6).float().mean() < 1e-3


def releases_of(engine: GradientEngine, defense: Defense) -> Releases:
    return Releases(engine, BATCHES, defense, seed=5, columns=torch.arange(engine.layout.p))


@pytest.mark.parametrize("view", [Whole(), FTest(50), CountSketch(64, 1)], ids=repr)
@pytest.mark.parametrize("defense", [NoDefense(), RecordPruning(0.1), Sign()], ids=str)
def test_what_a_view_leaves_is_the_same_in_blocks_and_record_by_record(
    defense: Defense, view: View
) -> None:
    """Without M after the mean, a linear view is of each record, once: another way entirely."""
    small, large = (releases_of(engine, defense) for engine in ENGINES["factored"])
    values = torch.arange(len(BATCHES)) % 2
    reduce = view.fit(large, values)
    [expected] = reduced(large.kept(), [reduce])
    [found] = small.through([reduce])
    assert found.shape == expected.shape
    limit = 0.02 if isinstance(defense, Sign) else 1e-4
    assert ((found - expected).norm(dim=1) <= limit * expected.norm(dim=1)).all()
    fitted_on_blocks = view.fit(small, values)
    probe = torch.randn(3, large.engine.layout.p)
    torch.testing.assert_close(fitted_on_blocks(probe), reduce(probe), rtol=1e-3, atol=1e-4)


def test_several_views_keep_their_order_and_columns() -> None:
    small, large = (releases_of(engine, NoDefense()) for engine in ENGINES["factored"])
    values = torch.arange(len(BATCHES)) % 2
    reduces = [view.fit(large, values) for view in (FTest(7), CountSketch(64, 1), FTest(3))]
    for one, other in zip(small.through(reduces), large.through(reduces), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    assert [table.shape[1] for table in small.through(reduces)] == [7, 64, 3]


def test_all_releases_never_stand_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 90 x 81,002 entries no more rows than planned are alive at any time."""
    small, _ = ENGINES["factored"]
    alive: list[int] = []
    blocks = small.blocks

    def watched(*args: Any) -> Iterator[Tensor]:
        for block in blocks(*args):
            alive.append(len(block))
            yield block

    monkeypatch.setattr(small, "blocks", watched)
    reduce = CountSketch(64, 1).fit([torch.zeros(1, small.layout.p)], torch.zeros(1))
    tables = releases_of(small, Sign()).through([reduce])
    assert [table.shape for table in tables] == [(90, 64)]
    assert max(alive) <= small.plan.rows < 90
    assert isinstance(releases_of(small, Sign()).kept(), Releases)


# The map of leakage by layer


class TwoBranches(LightningModule):
    """The secret reaches one of two layers alone: L = mean (u.x_0 + v.x_1)."""

    def __init__(self) -> None:
        super().__init__()
        self.told, self.silent = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        return (self.told(x[:, :2]) + self.silent(x[:, 2:])).mean()


def test_the_map_finds_the_layer_that_tells_and_chance_in_the_other() -> None:
    x, codes = gaussian(6_000, torch.tensor([1.0, 0.0, 0.0, 0.0]), seed=3)
    game = Game(
        Property("a"), k=4, rounds=[0, 1], shadow_batches=400, calibrate_batches=400, trials=400,
        adversaries=[LogisticRegression()], layer_map=True,
    )  # fmt: skip
    first = play(game, population(x, codes), TwoBranches())
    assert {g.layers for g in first} == {SEEN}  # the map is of the last observed round
    graded = play(game, population(x, codes), TwoBranches(), rounds=2)
    by_layer = {g.layers: g for g in graded if g.layers != SEEN}
    assert set(by_layer) == {"told", "silent"}
    assert all(g.rounds == "alone" for g in by_layer.values())
    whole = pick([g for g in graded if g.layers == SEEN], "LogisticRegression").figures["auroc"]
    told, silent = (by_layer[name].figures["auroc"] for name in ("told", "silent"))
    assert silent.low < 0.5 < silent.high
    assert abs(told.value - whole.value) < 0.03
    assert told.low > 0.75


def test_the_map_is_made_by_an_adversary_that_learns() -> None:
    assert isinstance(Game(Property("a")).mapper, RandomForest)
    linear = LogisticRegression()
    assert Game(Property("a"), adversaries=[linear]).mapper is linear


@pytest.mark.parametrize("most", [1, 2, 4, 100])
def test_groups_hold_every_parameter_once_and_neighbours_together(most: int) -> None:
    names = [f"net.{i}.{j}.{part}" for i in range(2) for j in range(3) for part in ("w", "b")]
    layout = Layout((*names, "scale"), ((2,),) * 13)
    groups = layout.groups(most)
    assert [name for group in groups.values() for name in group] == list(layout.names)
    assert len(groups) <= max(most, 2)
    if most == 100:
        assert list(groups) == [f"net.{i}.{j}" for i in range(2) for j in range(3)] + ["scale"]


def test_whole_releases_beyond_the_memory_are_refused_before_anything_is_computed() -> None:
    class Everything(LogisticRegression):
        def view(self, *args: Any) -> View:
            return Whole()

    x, codes = gaussian(400, torch.ones(D), seed=0)
    game = Game(
        Property("a"), k=2, shadow_batches=100, calibrate_batches=100, trials=100,
        adversaries=[Everything()], memory=0.05,
    )  # fmt: skip
    layout = Layout.of(Wide(nn.Tanh()))
    with pytest.raises(LeakageError) as error:
        Match(game, population(x, codes), NoDefense(), layout)
    assert str(error.value) == (
        f"attack.memory: Everything looks at whole releases, 300 of {layout.p} entries, which take"
        " 0.0905 GiB, but 0.05 are allowed; give it a view, let it see fewer layers, or allow more"
    )


def test_a_layer_of_any_name_is_told_from_all_layers() -> None:
    class Named(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.all, self.other = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
            self.add_module("f[0]", nn.Linear(2, 1, bias=False))

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, _ = batch
            return (
                self.other(x[:, :2]) + self.all(x[:, 2:]) + self._modules["f[0]"](x[:, 2:])
            ).mean()  # type: ignore[misc]

    x, codes = gaussian(4_000, torch.tensor([2.0, 0.0, 0.0, 0.0]), seed=3)
    game = Game(
        Property("a"), k=2, rounds=[0], shadow_batches=200, calibrate_batches=200, trials=200,
        adversaries=[LogisticRegression()], layer_map=True,
    )  # fmt: skip
    graded = play(game, population(x, codes), Named())
    found = {g.layers: g.figures["auroc"].value for g in graded if g.name == "LogisticRegression"}
    assert set(found) == {SEEN, "all (layer)", "other", "f[0]"}
    assert found[SEEN] > 0.85 < found["other"]
    assert found["all (layer)"] < 0.7


def test_a_batch_that_is_released_again_and_again_is_computed_once() -> None:
    records = TensorDataset(
        torch.randn(8, 5, generator=torch.Generator().manual_seed(3)), torch.zeros(8)
    )
    engine = Recorder(LinearLoss(5), records, torch.arange(4))
    engine.asked = []
    batches = torch.tensor([[0, 1], [2, 3], [4, 5]])

    def rows(sigma: float) -> Tensor:
        noisy = DP(clip=1e6, batch=2, sigma=sigma)
        return torch.cat(list(Releases(engine, batches, noisy, 0, torch.arange(5), repeats=4)))

    means = records.tensors[0][batches].mean(1)
    assert torch.allclose(rows(0.0), means.repeat_interleave(4, 0), atol=1e-6)
    assert [asked.tolist() for asked in engine.asked] == [batches.tolist()]
    assert len(rows(1e-6).unique(dim=0)) == 12  # each with noise of its own
