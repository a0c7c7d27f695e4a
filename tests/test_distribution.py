"""Distribution inference: exact and random composition, closed forms, ceilings, a plain twin."""

from __future__ import annotations

from collections import Counter
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from populations import LinearLoss, gaussian, pick, play, population
from scipy import stats
from sklearn.linear_model import LogisticRegression as Plain

from leakage.adversaries import LogisticRegression, Ordinal, Regression
from leakage.errors import LeakageError
from leakage.population import Population
from leakage.rules import Game
from leakage.secrets import Distribution, Sizes

GRID = [0.0, 0.25, 0.5, 0.75, 1.0]
LINEAR = LogisticRegression()


def distribution_game(secret: Distribution, **settings: Any) -> Game:
    defaults: dict[str, Any] = {
        "secret": secret,
        "k": 8,
        "rounds": [0],
        "shadow_batches": 2000,
        "calibrate_batches": 1500,
        "trials": 1500,
        "adversaries": [Ordinal(LINEAR), LINEAR, Regression(LINEAR)],
    }
    return Game(**(defaults | settings))


def two_groups(n: int, apart: float, seed: int = 0) -> Population:
    """x ~ N(+-apart / 2, 1) along one axis, by group."""
    return population(*gaussian(n, torch.tensor([apart, 0.0]), seed))


def drawn(secret: Distribution, values: torch.Tensor, k: int, seed: int = 0) -> torch.Tensor:
    """How many records of each batch hold the value."""
    records = two_groups(3000, 1.0)
    pool = secret.seats(records, Sizes(k, 0, k)).pools["challenge"]
    batches = secret.draw(values, k, pool, torch.Generator().manual_seed(seed), None)
    assert torch.isin(batches, records.splits["challenge"]).all()
    assert (batches.sort(1).values.diff(dim=1) > 0).all()  # distinct
    return (records.traits["a"].codes[batches] == 1).sum(1)


@given(k=st.sampled_from([4, 8, 12]), seed=st.integers(0, 20))
def test_an_exact_composition_holds_exactly_its_share(k: int, seed: int) -> None:
    values = torch.arange(40) % 5
    counts = drawn(Distribution("a", "a1"), values, k, seed)
    assert counts.tolist() == [round(GRID[v] * k) for v in values.tolist()]


def test_a_random_composition_is_binomial() -> None:
    n, k = 20_000, 6
    secret = Distribution("a", "a1", [0.2, 0.7], composition="random")
    for value, a in enumerate(secret.proportions):
        counts = Counter(drawn(secret, torch.full((n,), value), k).tolist())
        for h in range(k + 1):
            law = comb(k, h) * a**h * (1 - a) ** (k - h)
            assert abs(counts[h] - n * law) <= 5 * (n * law * (1 - law)) ** 0.5 + 1


@pytest.mark.parametrize("apart", [0.6, 1.5])
def test_the_share_of_a_gaussian_trait_is_found_as_the_closed_form_says(apart: float) -> None:
    """k records, a k of them at +apart/2: the mean is N((a - .5) apart, 1/k), the threshold midway.

    ASR = 1 - (c-1)/c * 2 * Phi(-step/2 * sqrt k), step the distance of neighbouring means.
    """
    k, c = 8, len(GRID)
    bayes = 1 - (c - 1) / c * 2 * stats.norm.cdf(-0.25 * apart / 2 * np.sqrt(k))
    graded = play(
        distribution_game(Distribution("a", "a1"), k=k), two_groups(20_000, apart), LinearLoss(2)
    )
    for name in ("OrdinalLogisticRegression", "LogisticRegression", "RegressionLogisticRegression"):
        figures = pick(graded, name).figures
        assert abs(figures["asr"].value - bayes) < 0.045
        assert figures["asr"].low <= bayes
        assert figures["mae"].value < pick(graded, "prior").figures["mae"].value


def test_the_error_of_the_prior_is_that_of_its_median() -> None:
    graded = play(
        distribution_game(Distribution("a", "a1"), trials=4000, adversaries=[LINEAR]),
        two_groups(12_000, 0.0),
        LinearLoss(2),
    )
    prior, chance = pick(graded, "prior").figures, pick(graded, LINEAR.name).figures
    assert prior["mae"].value == pytest.approx(np.mean(np.abs(np.array(GRID) - 0.5)), abs=0.012)
    assert chance["mae"].value == pytest.approx(prior["mae"].value, abs=0.03)
    assert chance["rps"].value == pytest.approx(prior["rps"].value, abs=0.005)
    assert chance["asr"].low <= 1 / 5 <= chance["asr"].high


def test_groups_that_one_entry_tells_leave_no_doubt_of_an_exact_share() -> None:
    graded = play(distribution_game(Distribution("a", "a1")), two_groups(12_000, 60), LinearLoss(2))
    for name in ("OrdinalLogisticRegression", "LogisticRegression"):
        figures = pick(graded, name).figures
        assert figures["asr"].value > 0.97
        assert figures["mae"].value < 0.01


@pytest.mark.parametrize(("k", "ceiling"), [(4, 0.644), (8, 0.774), (16, 0.878)])
def test_a_random_composition_caps_every_adversary_and_the_cap_is_nearly_reached(
    k: int, ceiling: float
) -> None:
    secret = Distribution("a", "a1", composition="random")
    graded = play(distribution_game(secret, k=k), two_groups(20_000, 60), LinearLoss(2))
    best = max(
        pick(graded, name).figures["asr"].value
        for name in ("OrdinalLogisticRegression", "LogisticRegression")
    )
    assert ceiling - 0.06 < best < ceiling + 0.03


def test_a_plain_implementation_of_the_distribution_game_agrees() -> None:
    records = two_groups(12_000, 1.2)
    game = distribution_game(Distribution("a", "a1"), adversaries=[LINEAR], trials=1000)
    ours = pick(play(game, records, LinearLoss(2)), LINEAR.name).figures["asr"]
    x, codes = records.features.numpy(), records.traits["a"].codes.numpy()
    rng = np.random.default_rng(0)

    def batches(split: str) -> tuple[list[Any], list[int]]:
        pool = records.splits[split].numpy()
        held = [pool[codes[pool] == value] for value in (0, 1)]
        rows, secrets = [], []
        for _ in range(1500):
            a = int(rng.integers(5))
            count = 2 * a  # of 8
            batch = [*rng.choice(held[1], count, False), *rng.choice(held[0], 8 - count, False)]
            rows.append(x[batch].mean(0))
            secrets.append(a)
        return rows, secrets

    plain = Plain(max_iter=500).fit(*batches("shadow_fit"))
    rate = plain.score(*batches("challenge"))
    assert ours.low - 0.02 <= rate <= ours.high + 0.02


# What is refused.


def refusal(secret: Distribution, k: int) -> str:
    with pytest.raises(LeakageError) as error:
        secret.check(two_groups(3000, 1.0), Sizes(k, 0, k))
    return str(error.value)


@pytest.mark.parametrize(("k", "nearest"), [(6, 4), (7, 8), (1, 4), (63, 64)])
def test_a_share_that_k_cannot_hold_names_the_nearest_k(k: int, nearest: int) -> None:
    assert refusal(Distribution("a", "a1"), k) == (
        f"attack.k: k = {k} records cannot be divided so that a share of 0.25 holds 'a1'"
        f" ({k / 4:g} records); the nearest that does is {nearest}, or use"
        " attack.secret.composition random"
    )


def test_a_wrong_k_must_hold_the_shares_too() -> None:
    with pytest.raises(LeakageError, match=r"attack.shadow_k: k = 6 records cannot be divided"):
        Distribution("a", "a1").check(two_groups(3000, 1.0), Sizes(8, 0, 6))


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ([0.5], "two or more shares in [0, 1] are needed, got [0.5]"),
        ([-0.1, 0.5], "two or more shares in [0, 1] are needed, got [-0.1, 0.5]"),
        ([0.5, 1.2], "two or more shares in [0, 1] are needed, got [0.5, 1.2]"),
        ([0.5, 0.5], "distinct shares in ascending order are needed, got [0.5, 0.5]"),
        ([0.7, 0.5], "distinct shares in ascending order are needed, got [0.7, 0.5]"),
    ],
)
def test_a_grid_that_is_none_is_refused(grid: list[float], sentence: str) -> None:
    with pytest.raises(LeakageError) as error:
        Distribution("a", "a1", grid)
    assert str(error.value) == f"attack.secret.proportions: {sentence}"


def test_a_share_of_no_value_is_refused() -> None:
    assert refusal(Distribution("a"), 8).startswith(
        "attack.secret.value: Distribution needs the value whose share is asked for; "
    )


def test_too_few_holders_are_refused() -> None:
    codes = torch.zeros(3000, dtype=torch.int64)
    codes[:40] = 1
    records = population(torch.randn(3000, 2), codes)
    with pytest.raises(LeakageError, match=r"attack.k: a batch of k = 16 needs 16 records with a"):
        Distribution("a", "a1").check(records, Sizes(16, 0, 16))
