"""Identifiers: users who were never seen are told apart as Bayes would tell them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_adversaries import leaves

from leakage.adversaries import (
    Adversary,
    Identifier,
    LinearDiscriminant,
    NearestMean,
    Prototypes,
    Surface,
)
from leakage.adversaries.identifiers import candidate_scores
from leakage.adversaries.views import CountSketch, FTest
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout

M, WAYS = 12, 8
SURFACE = Surface(Layout(("w",), ((M,),)), WAYS, (), M)
EXAMPLES: list[Identifier] = [
    NearestMean(),
    LinearDiscriminant(),
    Prototypes(hidden=32, episodes=100),
]
Floats = NDArray[np.float64]


def success(
    identifier: Identifier, draw: object, users: int = 60, enrolled: int = 10, seed: int = 0
) -> float:
    """Top-1 among 8 candidates, over 40 line-ups of users who are not in the shadow data."""
    rng = np.random.default_rng(seed)
    shadow = np.concatenate([draw(rng, 20) for _ in range(users)])  # type: ignore[operator]
    values = np.repeat(np.arange(users), 20)
    embed = identifier.fit(shadow.astype(np.float32), values, SURFACE, seed)
    right = []
    for _ in range(40):
        rows = [draw(rng, enrolled + 10) for _ in range(WAYS)]  # type: ignore[operator]
        met = np.stack([embed(own[:enrolled].astype(np.float32)) for own in rows])
        asked = embed(np.concatenate([own[enrolled:] for own in rows]).astype(np.float32))
        lines = np.tile(np.arange(WAYS), (len(asked), 1))
        scores = candidate_scores(asked, met, lines)
        right.append((scores.argmax(1) == np.repeat(np.arange(WAYS), 10)).mean())
    return float(np.mean(right))


def gaussian(between: Floats, within: Floats) -> object:
    """Draws releases of a new user, N(mean, within^2) with its mean N(0, between^2)."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        mean = between * rng.standard_normal(M)
        return mean + within * rng.standard_normal((n, M))

    return draw


def bayes(between: Floats, within: Floats, enrolled: int) -> float:
    """Top-1 of the posterior mean of each candidate's centre, by simulation."""
    rng, right = np.random.default_rng(9), 0
    for _ in range(4000):
        means = between * rng.standard_normal((WAYS, M))
        met = means + within / np.sqrt(enrolled) * rng.standard_normal((WAYS, M))
        shrunk = met * between**2 / (between**2 + within**2 / enrolled)
        query = means[0] + within * rng.standard_normal(M)
        spread = within**2 + between**2 * within**2 / (enrolled * between**2 + within**2)
        right += int((((query - shrunk) ** 2 / spread).sum(1)).argmin() == 0)
    return right / 4000


def test_every_identifier_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == leaves(Identifier)


def test_scores_are_minus_half_the_squared_distance_to_the_mean_up_to_a_constant_a_row() -> None:
    rng = np.random.default_rng(0)
    asked, met = rng.normal(size=(5, 3)), rng.normal(size=(6, 4, 3))
    lines = np.array([rng.permutation(6)[:4] for _ in range(5)])
    plain = np.array(
        [[-((asked[i] - met[user].mean(0)) ** 2).sum() / 2 for user in lines[i]] for i in range(5)]
    )
    found = candidate_scores(asked, met, lines)
    assert np.allclose(np.diff(found - plain, axis=1), 0)


@pytest.mark.parametrize("identifier", EXAMPLES, ids=lambda a: a.name)
class TestContract:
    def test_isotropic_gaussian_users_are_told_apart_as_bayes_would(
        self, identifier: Identifier
    ) -> None:
        between, within = np.full(M, 0.5), np.ones(M)
        best = bayes(between, within, 10)
        assert best - 0.06 < success(identifier, gaussian(between, within)) < best + 0.03

    def test_users_that_do_not_differ_are_one_in_m(self, identifier: Identifier) -> None:
        rate = success(identifier, gaussian(np.zeros(M), np.ones(M)))
        assert abs(rate - 1 / WAYS) < 0.03

    def test_users_who_are_far_apart_are_found(self, identifier: Identifier) -> None:
        assert success(identifier, gaussian(np.full(M, 20.0), np.ones(M))) > 0.99

    def test_the_same_seed_gives_the_same_embedding_and_touches_no_other_draw(
        self, identifier: Identifier
    ) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(200, M)).astype(np.float32)
        rows += np.repeat(rng.normal(size=(20, M)), 10, axis=0).astype(np.float32)
        values = np.repeat(np.arange(20), 10)
        state, before = torch.get_rng_state(), rows.copy()
        one, other = (identifier.fit(rows, values, SURFACE, seed=5) for _ in range(2))
        assert np.array_equal(one(rows), other(rows))
        assert one(rows).dtype == np.float64
        assert torch.equal(torch.get_rng_state(), state)
        assert np.array_equal(rows, before)

    def test_few_users_and_users_with_one_release_are_no_reason_to_fail(
        self, identifier: Identifier
    ) -> None:
        rng = np.random.default_rng(0)
        for values in ([0, 1], [0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1, 2, 3, 3]):
            rows = rng.normal(size=(len(values), M)).astype(np.float32)
            embed = identifier.fit(rows, np.array(values), SURFACE, seed=0)
            assert np.isfinite(embed(rows)).all()

    def test_a_constant_entry_counts_for_nothing(self, identifier: Identifier) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(200, M)).astype(np.float32)
        rows[:, 3] = 7.0
        embed = identifier.fit(rows, np.repeat(np.arange(20), 10), SURFACE, seed=0)
        moved = rows.copy()
        moved[:, 3] = 99.0
        assert np.allclose(embed(rows), embed(moved))

    def test_the_view_goes_by_size(self, identifier: Identifier) -> None:
        large = Surface(Layout(("w",), ((100_000,),)), WAYS, (), M)
        assert isinstance(identifier.view(SURFACE, 0), FTest)
        assert isinstance(identifier.view(large, 0), CountSketch)


def test_the_linear_discriminant_sees_through_noise_that_all_users_share() -> None:
    """Two entries tell users apart; the others are a hundred times as noisy, and correlated."""
    mix = np.eye(M) + 0.9 * np.random.default_rng(1).normal(size=(M, M))

    def draw(rng: np.random.Generator, n: int) -> Floats:
        mean = np.zeros(M)
        mean[:2] = 2 * rng.standard_normal(2)
        noise = rng.standard_normal((n, M)) * np.array([1.0] * 2 + [100.0] * (M - 2))
        return (mean + noise) @ mix

    linear, nearest = (success(a, draw) for a in (LinearDiscriminant(), NearestMean()))
    between, within = np.zeros(M), np.ones(M)
    between[:2] = 2
    assert linear > bayes(between, within, 10) - 0.06
    assert linear > nearest + 0.2


def test_a_prototypical_network_finds_what_no_linear_map_shows() -> None:
    """Users differ in which entries are large, whatever their sign: all means are 0."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        scale = np.exp(0.8 * rng.standard_normal(M))
        return rng.choice([-1.0, 1.0], size=(n, M)) * scale + 0.1 * rng.standard_normal((n, M))

    network = success(Prototypes(hidden=128, episodes=400), draw, users=150)
    linear = success(LinearDiscriminant(), draw, users=150)
    assert network > linear + 0.2


@pytest.mark.parametrize(
    ("kind", "setting", "sentence"),
    [
        (Prototypes, {"ways": 0}, "Prototypes.ways is a number of at least 1, got 0"),
        (Prototypes, {"rate": 0.0}, "Prototypes.rate is a number above 0, got 0.0"),
        (NearestMean, {"features": 0}, "NearestMean.features is a number of at least 1, got 0"),
        (
            LinearDiscriminant,
            {"reduce": "pca"},
            "LinearDiscriminant.reduce knows 'auto', 'f_test' and 'sketch', got 'pca'",
        ),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Adversary], setting: dict[str, object], sentence: str
) -> None:
    with pytest.raises(LeakageError) as error:
        kind(**setting)
    assert str(error.value) == f"attack.adversaries: {sentence}"
