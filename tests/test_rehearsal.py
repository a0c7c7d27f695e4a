"""An M that is fitted on records: whose they are, in which round, and who may know the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from populations import (
    LINEAR,
    SHIFT,
    LinearLoss,
    Recorder,
    at_once,
    gaussian,
    linear_game,
    population,
    released,
)
from torch import Generator, Tensor
from typing_extensions import override

from leakage.defenses import Chain, Defense, Pruning, Rehearsal
from leakage.errors import LeakageError
from leakage.game import Match
from leakage.gradients.engine import GradientEngine
from leakage.gradients.layout import Layout
from leakage.knowledge import MECHANISM, STATIC, SURROGATE
from leakage.secrets import Attribute, Membership, User

ROUND = 0


@dataclass(frozen=True)
class _Shift(Defense):
    """Takes the mean difference that it was fitted on out of every release."""

    batches: int = 50

    @property
    @override
    def rehearses(self) -> int:
        return self.batches

    @override
    def fitted(self, rehearsal: Rehearsal) -> Defense:
        means, values = rehearsal.means, rehearsal.values
        return _Shifted(means[values == 1].mean(0) - means[values == 0].mean(0), rehearsal)

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        raise AssertionError("released before it was fitted")


@dataclass(frozen=True, eq=False)
class _Shifted(Defense):
    shift: Tensor
    rehearsal: Rehearsal

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        return means - (means @ self.shift / (self.shift @ self.shift)).unsqueeze(1) * self.shift


SHARES = {
    "train": 0.3,
    "validation": 0.05,
    "test": 0.05,
    "shadow_fit": 0.2,
    "shadow_calibrate": 0.2,
    "challenge": 0.2,
}
RECORDS = population(*gaussian(6_000, SHIFT, seed=0), shares=SHARES)
GAME = linear_game(k=4, others=2, shadow_batches=400, calibrate_batches=400, trials=400)


def match_of(defense: Defense, game: Any = GAME, records: Any = RECORDS) -> Match:
    return Match(game, records, defense, Layout.of(LinearLoss(5)))


def recorder() -> Recorder:
    engine = Recorder(LinearLoss(5), RECORDS.records, RECORDS.splits["shadow_fit"][:4])
    engine.asked = []
    return engine


def test_the_defender_fits_on_training_records_and_the_adversary_on_its_own() -> None:
    engine, match = recorder(), match_of(_Shift())
    fitted = match.fitted(engine, ROUND)
    assert isinstance(fitted, _Shifted)
    (asked,) = engine.asked
    assert asked.shape == (50, 6)  # as the releases of the game: others and all
    assert torch.isin(asked, RECORDS.splits["train"]).all()
    assert fitted.rehearsal.values.bincount().tolist() == [25, 25]
    assert fitted.rehearsal.k == 6
    engine.asked.clear()
    assert match._rehearsals is not None
    match._rehearsals.adversary(engine, ROUND)
    (asked,) = engine.asked
    assert torch.isin(asked, RECORDS.splits["shadow_fit"]).all()


def test_batches_of_the_rehearsal_have_the_secrets_that_they_are_told_to_have() -> None:
    engine, match = recorder(), match_of(_Shift(), replace(GAME, others=0))
    fitted = match.fitted(engine, ROUND)
    assert isinstance(fitted, _Shifted)
    codes = RECORDS.traits["a"].codes[engine.asked[0]]
    assert torch.equal(codes, fitted.rehearsal.values.unsqueeze(1).expand(-1, 4))
    x = RECORDS.features[engine.asked[0]]
    assert torch.allclose(fitted.rehearsal.means, x.mean(1), atol=1e-6)


def test_m_is_fitted_once_a_round_and_the_same_each_time() -> None:
    engine, match = recorder(), match_of(_Shift())
    first = match.fitted(engine, ROUND)
    assert match.fitted(engine, ROUND) is first
    assert len(engine.asked) == 1
    later = match.fitted(engine, 1)
    again = match_of(_Shift()).fitted(recorder(), ROUND)
    assert isinstance(first, _Shifted)
    assert isinstance(later, _Shifted)
    assert isinstance(again, _Shifted)
    assert torch.equal(first.shift, again.shift)
    assert not torch.equal(first.shift, later.shift)  # other batches


def test_adversaries_know_nothing_or_the_mechanism_or_also_what_it_was_fitted_to() -> None:
    engine, match = recorder(), match_of(_Shift())
    graded = match.judge(match.observe(ROUND, engine, at_once, lambda step: None))
    known = [g.knowledge for g in graded if g.name == LINEAR.name]
    assert known == [(STATIC,), (MECHANISM,), (SURROGATE,)]


def test_the_challenger_releases_through_the_defender_s_own_fit() -> None:
    engine, match = recorder(), match_of(Chain([_Shift(), Pruning(0.5)]), replace(GAME, others=0))
    defense = match.fitted(engine, ROUND)
    assert isinstance(defense, Chain)
    shift = defense.stages[0]
    assert isinstance(shift, _Shifted)
    table = RECORDS.splits["challenge"][:8].view(2, 4)
    found = released(engine, table, defense, Generator().manual_seed(0))
    means = RECORDS.features[table].mean(1)
    plain = shift.release(means, k=4, layout=engine.layout, generator=Generator())
    kept = Pruning(0.5).release(plain, k=4, layout=engine.layout, generator=Generator())
    assert torch.allclose(found, kept, atol=1e-6)


def test_a_later_stage_is_fitted_on_what_reaches_it() -> None:
    engine, match = recorder(), match_of(Chain([Pruning(0.2), _Shift()]), replace(GAME, others=0))
    defense = match.fitted(engine, ROUND)
    assert isinstance(defense, Chain)
    last = defense.stages[1]
    assert isinstance(last, _Shifted)
    assert (last.rehearsal.means != 0).sum(1).tolist() == [1] * 50


@dataclass(frozen=True)
class _Telling(Defense):
    """Releases the secret that it is told."""

    values: Tensor | None = None

    @property
    @override
    def reads_secret(self) -> bool:
        return True

    @override
    def told(self, values: Tensor) -> Defense:
        return replace(self, values=values)

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        assert self.values is not None
        return means * 0 + self.values.unsqueeze(1)


def test_an_m_that_reads_the_secret_is_told_that_of_each_batch_and_leaks_it() -> None:
    noise = population(torch.randn(6_000, 5, generator=Generator().manual_seed(0)), *_fair())
    match = match_of(_Telling(), replace(GAME, others=0), noise)
    engine = GradientEngine(LinearLoss(5), noise.records, noise.splits["shadow_fit"][:4])
    graded = match.judge(match.observe(ROUND, engine, at_once, lambda step: None))
    aware = [g for g in graded if g.name == LINEAR.name and "adaptive" in g.knowledge]
    assert aware[0].figures["auroc"].value == 1


def _fair() -> tuple[Tensor]:
    return (torch.randint(2, (6_000,), generator=Generator().manual_seed(1)),)


@pytest.mark.parametrize("secret", [User(candidates=4), Membership()], ids=repr)
def test_a_secret_without_known_batches_is_refused(secret: Any) -> None:
    with pytest.raises(LeakageError) as error:
        match_of(_Shift(), replace(GAME, secret=secret, adversaries=None, others=0), _users())
    assert str(error.value) == (
        "defense: _Shift(batches=50) is fitted on batches whose secrets are known, which the secret"
        f" {type(secret).__name__} does not have; use it with Attribute, Property or Distribution"
    )


def _users() -> Any:
    units = torch.arange(6_000) % 60
    records = population(*gaussian(6_000, SHIFT, seed=0), shares=SHARES)
    splits = {name: (units % 6 == number).nonzero().flatten() for number, name in enumerate(SHARES)}
    return replace(records, units=units, splits=splits)


def test_without_records_of_the_defender_s_own_it_is_refused() -> None:
    splits = {name: held for name, held in RECORDS.splits.items() if name != "train"}
    with pytest.raises(LeakageError) as error:
        match_of(_Shift(), records=replace(RECORDS, splits=splits))
    assert str(error.value) == (
        "defense: _Shift(batches=50) is fitted on records of the defender's own, but the data set"
        " synthetic has no train split beside those of the game; give a Population that has one"
    )


def test_more_whole_gradients_than_the_memory_holds_are_refused() -> None:
    with pytest.raises(LeakageError) as error:
        match_of(_Shift(10**9))
    assert str(error.value) == (
        "attack.memory: _Shift(batches=1000000000) is fitted on 1000000000 whole gradients of 5"
        " entries, which take 18.6 GiB, but 2 are allowed; fit it on fewer batches, or allow more"
    )


def test_the_trait_has_to_be_common_enough_among_the_defender_s_records() -> None:
    codes = RECORDS.traits["a"].codes.clone()
    codes[RECORDS.splits["train"]] = 0
    trait = replace(RECORDS.traits["a"], codes=codes)
    records = replace(RECORDS, traits={"a": trait})
    with pytest.raises(LeakageError, match="holds 0"):
        match_of(_Shift(), records=records)


def test_a_part_of_x_is_rehearsed_with_a_target_of_the_defender_s_own() -> None:
    x, codes = gaussian(6_000, SHIFT, seed=0)
    x[:, 0] = codes
    records = population(x, codes, one_hot=(0,), shares=SHARES)
    game = replace(GAME, secret=Attribute("a", "target"), others=0)
    match = match_of(_Shift(), game, records)
    engine = Recorder(LinearLoss(5), records.records, records.splits["shadow_fit"][:4])
    engine.asked = []
    fitted = match.fitted(engine, ROUND)
    assert isinstance(fitted, _Shifted)
    (asked,) = engine.asked
    assert torch.equal(codes[asked[:, 0]], fitted.rehearsal.values)
    assert torch.isin(asked, records.splits["train"]).all()
