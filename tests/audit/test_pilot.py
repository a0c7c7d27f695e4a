"""The pilot: what it takes for noise, for fresh noise and for none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from audits import D, attribute_rules, audited, both, observed, one_hot_population, pick, rules
from populations import LinearLoss, population
from torch import Generator, Tensor
from typing_extensions import override

from leakage.audit.canaries import GradientCanary
from leakage.audit.names import PAIR
from leakage.audit.pilot import Pilot, check_fresh, pilot_of
from leakage.defenses import DP, Chain, Defense, NoDefense, Pruning, RecordPruning, Sign
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

RECORDS = one_hot_population()
LAYOUT = Layout.of(LinearLoss(D))
NOISY = DP(clip=1.0, batch=8, sigma=1.0)


def piloted(defense: Defense, rows: int = 32) -> Pilot:
    means = (torch.zeros(1, D), torch.ones(1, D))
    return pilot_of(defense, means, (8, 8), (0, 1), LAYOUT, Generator().manual_seed(0), rows)


def test_a_pilot_releases_both_batches_as_often_as_it_is_asked_to() -> None:
    pilot = piloted(NOISY)
    assert pilot.zero.shape == pilot.one.shape == (32, D)
    assert pilot.draws
    assert not pilot.constant.any()
    assert len(torch.cat([pilot.zero, pilot.one]).unique(dim=0)) == 64
    std = NOISY.clip / NOISY.batch
    assert (pilot.one - pilot.zero - 1).std() == pytest.approx(math.sqrt(2) * std, rel=0.15)
    check_fresh(NOISY, pilot, LAYOUT)


@pytest.mark.parametrize("defense", [NoDefense(), Sign(), Pruning(0.5), RecordPruning(0.5)])
def test_what_draws_nothing_is_deterministic(defense: Defense) -> None:
    pilot = piloted(defense)
    assert pilot.deterministic
    assert not pilot.draws
    check_fresh(defense, pilot, LAYOUT)  # it never claimed any noise


@dataclass(frozen=True)
class _Seldom(Defense):
    """Releases the mean, but noise alone once in 10,000 releases."""

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        seldom = torch.rand(len(means), 1, generator=generator) < 1e-4
        return torch.where(seldom, torch.randn(means.shape, generator=generator), means)


def test_no_infinite_epsilon_is_claimed_of_noise_that_the_pilot_did_not_see() -> None:
    pilot = piloted(_Seldom())
    assert pilot.constant.all()
    assert not pilot.deterministic
    results = audited(attribute_rules(), RECORDS, _Seldom())
    assert not [r for r in results if r.estimator == PAIR]
    bound = pick(results, "clopper_pearson").bound
    assert 3 < bound.low < math.inf


def test_no_infinite_epsilon_is_claimed_of_a_sign_that_dp_noise_seldom_turns() -> None:
    records = one_hot_population(
        scale=1e3
    )  # every entry is far from 0, unless it is an unused code
    defense = Chain([DP(clip=1e3, batch=8, sigma=1e-3), Sign()])
    results = audited(attribute_rules(k=1), records, defense)
    assert not [r for r in results if r.estimator == PAIR]


@dataclass(frozen=True, repr=False)
class _Tiring(DP):
    """Has noise for the pilot alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "_left", [150])

    @override
    def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
        left: list[int] = self._left  # type: ignore[attr-defined]
        left[0] -= len(means)
        noisy = super().release(means, k=k, layout=layout, generator=generator)
        return noisy if left[0] > 0 else means * k / self.batch


def test_noise_that_ends_after_the_pilot_is_refused() -> None:
    with pytest.raises(
        LeakageError, match=r"^defense: the noise of _Tiring\(.*\) is not fresh: \d+ of"
    ):
        audited(rules(), RECORDS, _Tiring(clip=1.0, batch=8, sigma=1.0))


def test_trials_are_other_releases_than_those_of_the_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    @dataclass(frozen=True, repr=False)
    class _Watched(DP):
        @override
        def release(self, means: Tensor, *, k: int, layout: Layout, generator: Generator) -> Tensor:
            released = super().release(means, k=k, layout=layout, generator=generator)
            if self.sigma and k in (7, 8):
                seen.append((released - means * k / self.batch).mul(1e4).round())
            return released

    audited(rules(rounds=[0, 1]), RECORDS, _Watched(clip=1.0, batch=8, sigma=1.0))
    noise = torch.cat(seen)
    assert len(noise) == 2 * (128 + 400) + 2 * 2  # two rounds of pilots and trials; a check of M
    assert len(noise.unique(dim=0)) == len(noise) - 2  # that check, twice the same, apart


def test_noises_and_canaries_have_trials_of_their_own() -> None:
    auditor = observed(both(sigmas=[2.0]), RECORDS, NOISY)
    tallies = list(auditor._tallies.values())
    assert len(tallies) == 4
    units = [(tally.scores.zero - 0.0)[:50].tolist() for tally in tallies]
    for i, one in enumerate(units):
        for other in units[:i]:
            assert len({round(s, 6) for s in one} & {round(s, 6) for s in other}) <= 1


def test_a_correct_mechanism_on_one_entry_is_not_taken_for_stale() -> None:
    """Beside a large sum, float32 holds few values of a score that looks at one entry."""
    x = torch.zeros(3_000, 3)
    x[:, 0] = 5.0
    records = population(x, torch.arange(3_000) % 2)
    how = rules(k=512, trials=40_000, canaries=[GradientCanary()])
    results = audited(how, records, DP(clip=1.0, batch=512, sigma=1.0))
    assert pick(results, "one_run", "gradient").bound.low > 2
