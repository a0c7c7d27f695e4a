"""Each defense keeps its contract, and does what its paper says, to the entry."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import LightningModule
from populations import released as releases_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from leakage.defenses import (
    DP,
    Chain,
    Defense,
    NoDefense,
    Perturbation,
    Pruning,
    RecordPruning,
    Rehearsal,
    Sign,
    noiseless,
)
from leakage.errors import LeakageError
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout

LAYOUT = Layout(("a", "b", "c"), ((4, 5), (7,), (1,)))  # p = 28


def rehearsal(n: int = 60) -> Rehearsal:
    """Batches whose first entry tells the secret."""
    values = torch.arange(n) % 2
    means = torch.randn(n, LAYOUT.p, generator=torch.Generator().manual_seed(5))
    means[:, 0] += 3 * values
    prior = torch.full((2,), 0.5, dtype=torch.float64)
    return Rehearsal(means, values, prior, 4, LAYOUT, seed=0)


EXAMPLES: list[Defense] = [
    NoDefense(),
    Pruning(0.2),
    Pruning(0.3, "layer"),
    Pruning(1.0),
    RecordPruning(0.2),
    RecordPruning(0.3, "layer"),
    Sign("keep"),
    Sign("plus"),
    Sign("random"),
    Chain([Pruning(0.5), Sign("random")]),
    Chain([RecordPruning(0.5), Pruning(0.5), Sign()]),
    Perturbation().fitted(rehearsal()),
    Perturbation("linf").fitted(rehearsal()),
    Chain([RecordPruning(0.5), Perturbation(), Pruning(0.5)]).fitted(rehearsal()),
    DP(clip=1.0, batch=4, sigma=0.5),
    Chain([RecordPruning(0.5), DP(clip=1.0, batch=4, sigma=0.5), Sign()]),
]
STOCHASTIC = [
    Sign("random"),
    Chain([Pruning(0.5), Sign("random")]),
    *EXAMPLES[-2:],
]


def leaves(base: type[Defense] = Defense) -> Iterator[type[Defense]]:
    for defense in base.__subclasses__():
        if defense.__module__.startswith("leakage."):
            yield defense
            yield from leaves(defense)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(n: int = 5, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows with zeros, ties and, as the last row, nothing but zeros."""
    rows = torch.randn(n, LAYOUT.p, generator=generator(seed), dtype=torch.float64)
    rows = (rows * 4).round() / 4
    rows[-1] = 0
    return rows.to(dtype)


def released(defense: Defense, means: Tensor, seed: int = 0, layout: Layout = LAYOUT) -> Tensor:
    return defense.release(means, k=4, layout=layout, generator=generator(seed))


def test_every_defense_has_an_example_under_the_contract() -> None:
    found = set(leaves())
    assert {NoDefense, Pruning, RecordPruning, Sign, Chain} <= found
    assert {type(example) for example in EXAMPLES} == found


@pytest.mark.parametrize("defense", EXAMPLES, ids=repr)
class TestContract:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_shape_and_dtype_are_kept(self, defense: Defense, dtype: torch.dtype) -> None:
        rows = gradients(dtype=dtype)
        for out in (defense.per_record(rows, LAYOUT), released(defense, rows)):
            assert out.shape == rows.shape
            assert out.dtype == dtype
            assert out.isfinite().all()

    def test_the_generator_decides_everything(self, defense: Defense) -> None:
        rows = gradients()
        random = torch.get_rng_state()
        assert torch.equal(released(defense, rows, 1), released(defense, rows, 1))
        assert torch.equal(defense.per_record(rows, LAYOUT), defense.per_record(rows, LAYOUT))
        changes = not torch.equal(released(defense, rows, 1), released(defense, rows, 2))
        assert changes == (defense in STOCHASTIC)
        assert torch.equal(torch.get_rng_state(), random)

    def test_the_input_is_left_as_it_was(self, defense: Defense) -> None:
        rows = gradients()
        before = rows.clone()
        for out in (defense.per_record(rows, LAYOUT), released(defense, rows)):
            assert torch.equal(rows, before)
            if not torch.equal(out, rows):
                assert out.data_ptr() != rows.data_ptr()

    def test_per_record_maps_each_row_by_itself(self, defense: Defense) -> None:
        rows = gradients()
        each = torch.cat([defense.per_record(row.unsqueeze(0), LAYOUT) for row in rows])
        assert torch.equal(defense.per_record(rows, LAYOUT), each)
        order = torch.tensor([3, 0, 4, 2, 1])
        assert torch.equal(defense.per_record(rows[order], LAYOUT), each[order])

    def test_record_wise_says_whether_records_are_mapped(self, defense: Defense) -> None:
        rows = gradients()
        assert defense.record_wise == (not torch.equal(defense.per_record(rows, LAYOUT), rows))

    def test_no_release_is_released_as_none(self, defense: Defense) -> None:
        assert released(defense, gradients()[:0]).shape == (0, LAYOUT.p)

    def test_settings_are_frozen_and_name_the_defense(self, defense: Defense) -> None:
        assert is_dataclass(defense)
        for setting in fields(defense):
            with pytest.raises(FrozenInstanceError):
                setattr(defense, setting.name, None)
        assert defense == copy.deepcopy(defense)
        assert defense.label == ("none" if isinstance(defense, NoDefense) else repr(defense))


@pytest.mark.parametrize("defense", [d for d in EXAMPLES if d not in STOCHASTIC], ids=repr)
def test_a_table_of_means_is_released_row_by_row(defense: Defense) -> None:
    rows = gradients()
    each = torch.cat([released(defense, row.unsqueeze(0)) for row in rows])
    assert torch.allclose(released(defense, rows), each, rtol=0, atol=1e-6)


def test_no_defense_releases_the_gradient_itself() -> None:
    rows = gradients()
    assert torch.equal(released(NoDefense(), rows), rows)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Layout, Tensor]:
    """A layout of up to 4 parameters, and rows of small integers: many ties and zeros."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    layout = Layout(tuple(f"w{i}" for i in range(len(sizes))), tuple((size,) for size in sizes))
    entries = st.lists(st.integers(-3, 3), min_size=layout.p, max_size=layout.p)
    rows = draw(st.lists(entries, min_size=1, max_size=3))
    return layout, torch.tensor(rows, dtype=torch.float32)


def assert_largest_kept(row: Tensor, out: Tensor, keep: float) -> None:
    """The magnitudes that are left are the largest, sorted by a plain twin; values stay."""
    count = max(1, round(keep * len(row)))
    largest = sorted(row.abs().tolist(), reverse=True)[:count]
    kept = sorted(out.abs().tolist(), reverse=True)
    assert kept == largest + [0.0] * (len(row) - count)
    assert all(new in (0, old) for old, new in zip(row.tolist(), out.tolist(), strict=True))


@given(table=tables(), keep=st.floats(0.001, 1))
def test_pruning_keeps_the_largest_entries_of_each_release(
    table: tuple[Layout, Tensor], keep: float
) -> None:
    layout, rows = table
    for row, out in zip(rows, released(Pruning(keep), rows, layout=layout), strict=True):
        assert_largest_kept(row, out, keep)
    assert torch.equal(
        RecordPruning(keep).per_record(rows, layout), released(Pruning(keep), rows, layout=layout)
    )


@given(table=tables(), keep=st.floats(0.001, 1))
def test_pruning_by_layer_keeps_the_largest_entries_of_each_parameter(
    table: tuple[Layout, Tensor], keep: float
) -> None:
    layout, rows = table
    defense = Pruning(keep, "layer")
    for row, out in zip(rows, released(defense, rows, layout=layout), strict=True):
        for name in layout.names:
            span = layout.span(name)
            assert_largest_kept(row[span], out[span], keep)
    assert torch.equal(
        RecordPruning(keep, "layer").per_record(rows, layout),
        released(defense, rows, layout=layout),
    )


@given(p=st.integers(1, 300), keep=st.floats(0.001, 1), seed=st.integers(0, 9))
def test_pruning_keeps_an_exact_number_of_entries_where_all_differ(
    p: int, keep: float, seed: int
) -> None:
    rows = 1 + torch.rand(3, p, generator=generator(seed))
    out = released(Pruning(keep), rows, layout=Layout(("w",), ((p,),)))
    assert (out != 0).sum(1).tolist() == [max(1, round(keep * p))] * 3


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruning_that_keeps_all_is_the_identity(scope: Any) -> None:
    rows = gradients()
    assert torch.equal(released(Pruning(1.0, scope), rows), rows)
    assert torch.equal(RecordPruning(1.0, scope).per_record(rows, LAYOUT), rows)


@pytest.mark.parametrize("defense", [Pruning, RecordPruning])
@pytest.mark.parametrize("keep", [0.0, 1.5, -1.0, float("nan")])
def test_a_kept_share_outside_0_to_1_is_refused(defense: Any, keep: float) -> None:
    with pytest.raises(LeakageError) as error:
        defense(keep)
    assert str(error.value) == (
        f"defense.keep: {defense.__name__} keeps a share of entries in (0, 1], got {keep}"
    )


@pytest.mark.parametrize("defense", [Pruning, RecordPruning])
def test_an_unknown_scope_of_pruning_is_refused(defense: Any) -> None:
    with pytest.raises(LeakageError) as error:
        defense(0.1, "layers")
    assert str(error.value) == (
        f"defense.scope: {defense.__name__} knows 'global' and 'layer', got 'layers'"
    )


def test_sign_releases_one_bit_and_treats_zeros_as_told() -> None:
    means = torch.tensor([[-2.5, -0.0, 0.0, 1e-30, 7.0]])
    layout = Layout(("w",), ((5,),))
    assert released(Sign("keep"), means, layout=layout).tolist() == [[-1, 0, 0, 1, 1]]
    assert released(Sign("plus"), means, layout=layout).tolist() == [[-1, 1, 1, 1, 1]]
    random = released(Sign("random"), means, layout=layout)
    assert random[0, [0, 3, 4]].tolist() == [-1, 1, 1]
    assert random.abs().eq(1).all()


def test_sign_random_is_a_fair_coin_on_zeros_and_only_there() -> None:
    means = torch.tensor([0.0, 0.3, -0.3]).repeat(1000, 40)  # (1000, 120)
    out = released(Sign("random"), means, layout=Layout(("w",), ((120,),)))
    assert torch.equal(out[means != 0], means[means != 0].sign())
    coins = out[means == 0]
    assert set(coins.tolist()) == {-1.0, 1.0}
    assert abs(coins.mean()) < 5 / len(coins) ** 0.5
    # Independent: two entries of a release agree half of the time, and so do two releases.
    zeros = out[:, ::3]
    assert abs((zeros[:, 0::2] * zeros[:, 1::2]).mean()) < 5 / (len(coins) / 2) ** 0.5
    assert abs((zeros[0::2] * zeros[1::2]).mean()) < 5 / (len(coins) / 2) ** 0.5


def test_an_unknown_zero_of_sign_is_refused() -> None:
    bad: Any = "minus"
    with pytest.raises(LeakageError) as error:
        Sign(bad)
    assert str(error.value) == ("defense.zero: Sign knows 'keep', 'plus' and 'random', got 'minus'")


def test_a_chain_is_the_composition_in_order() -> None:
    rows = gradients()
    first, second, third = Pruning(0.3), Sign("plus"), Pruning(0.5, "layer")
    expected = released(third, released(second, released(first, rows)))
    assert torch.equal(released(Chain([first, second, third]), rows), expected)
    backwards = released(Chain([third, second, first]), rows)
    assert not torch.equal(backwards, expected)


def test_a_chain_hands_one_stream_of_randomness_down() -> None:
    rows = gradients()
    stream = generator(7)
    expected = rows
    for stage in (Sign("random"), Pruning(0.5), Sign("random")):
        expected = stage.release(expected, k=4, layout=LAYOUT, generator=stream)
    chain = Chain([Sign("random"), Pruning(0.5), Sign("random")])
    assert torch.equal(released(chain, rows, 7), expected)


def test_the_record_wise_stages_of_a_chain_act_before_the_mean() -> None:
    rows = gradients()
    one, two = RecordPruning(0.6), RecordPruning(0.3, "layer")
    chain = Chain([one, two, Sign()])
    assert chain.record_wise
    expected = two.per_record(one.per_record(rows, LAYOUT), LAYOUT)
    assert torch.equal(chain.per_record(rows, LAYOUT), expected)
    assert torch.equal(released(chain, rows), rows.sign())
    assert not Chain([Pruning(), Sign()]).record_wise


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        Chain([])
    assert str(error.value) == ("defense.stages: an empty list defends nothing; use NoDefense")


class ClipAndNoise(Defense):
    """A user's defense with both stages."""

    def __repr__(self) -> str:
        return "ClipAndNoise()"

    def per_record(self, gradients: Tensor, layout: Layout) -> Tensor:
        return gradients / gradients.norm(dim=1, keepdim=True).clamp(min=1)

    def release(
        self, means: Tensor, *, k: int, layout: Layout, generator: torch.Generator
    ) -> Tensor:
        return means + torch.randn(means.shape, generator=generator)


@pytest.mark.parametrize(
    "stages",
    [
        [Sign(), RecordPruning(0.1)],
        [RecordPruning(0.5), Pruning(0.5), RecordPruning(0.1)],
        [Chain([RecordPruning(0.5), Sign()]), RecordPruning(0.1)],
        [Chain([RecordPruning(0.5), Sign()]), Chain([RecordPruning(0.1)])],
        [ClipAndNoise(), RecordPruning(0.1)],
    ],
    ids=repr,
)
def test_a_record_wise_stage_after_one_that_maps_the_mean_is_refused(
    stages: list[Defense],
) -> None:
    with pytest.raises(LeakageError) as error:
        Chain(stages)
    assert str(error.value) == (
        "defense.stages: RecordPruning(keep=0.1, scope='global') maps the gradient of each record,"
        " so it must come before every stage that maps the mean"
    )


@pytest.mark.parametrize(
    "stages",
    [
        [RecordPruning(0.5), ClipAndNoise(), Sign()],
        [Chain([RecordPruning(0.5)]), RecordPruning(0.1), Sign()],
        [NoDefense(), RecordPruning(0.1)],
    ],
    ids=repr,
)
def test_a_chain_whose_maps_of_records_all_come_first_is_accepted(stages: list[Defense]) -> None:
    assert Chain(stages).record_wise


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.network(x), y)


@pytest.fixture
def engine() -> GradientEngine:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        records = TensorDataset(torch.randn(8, 4), torch.arange(8) % 2)
        return GradientEngine(Net(), records, torch.arange(4))


TABLE = torch.tensor([[0, 1, 2], [3, 3, 7], [5, 6, 1]])


def test_a_release_maps_each_record_then_the_mean(engine: GradientEngine) -> None:
    each = engine.means(torch.arange(8).unsqueeze(1), generator())  # (8, p)
    layout = engine.layout
    kept = RecordPruning(0.2).per_record(each, layout)
    chain = Chain([RecordPruning(0.2), Sign()])
    found = releases_of(engine, TABLE, chain, generator())
    assert torch.equal(found, kept[TABLE].mean(1).sign())
    only = releases_of(engine, TABLE, RecordPruning(0.2), generator())
    assert torch.allclose(only, kept[TABLE].mean(1), atol=1e-7)
    pruned = releases_of(engine, TABLE, Pruning(0.2), generator())
    expected = Pruning(0.2).release(each[TABLE].mean(1), k=3, layout=layout, generator=generator())
    assert torch.allclose(pruned, expected, atol=1e-7)
    assert not torch.allclose(pruned, only, atol=1e-3)


def test_a_release_is_told_how_many_records_its_mean_is_over(engine: GradientEngine) -> None:
    class Sum(Defense):
        def release(
            self, means: Tensor, *, k: int, layout: Layout, generator: torch.Generator
        ) -> Tensor:
            return means * k

    summed = releases_of(engine, TABLE, Sum(), generator())
    means = releases_of(engine, TABLE, NoDefense(), generator())
    assert torch.equal(summed, 3 * means)


def test_what_dp_adds_its_noise_to_is_what_stands_before_it() -> None:
    rows = gradients()
    dp = DP(clip=1.0, batch=4, sigma=0.5)
    for defense in (dp, Chain([RecordPruning(0.5), dp, Sign()]), Chain([Chain([dp]), Sign()])):
        clean = noiseless(defense)
        assert clean is not None
        assert torch.equal(released(clean, rows), rows * 4 / 4)
        assert torch.equal(clean.per_record(rows, LAYOUT), defense.per_record(rows, LAYOUT))
    assert noiseless(DP(clip=1.0, batch=4, sigma=0.0)) is None
    assert noiseless(Chain([Pruning(), Sign()])) is None
