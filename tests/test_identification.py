"""Identifiers: users who were never seen are told apart as Bayes would tell them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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
from leakage.adversaries.whitening import telling_share
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
    for reference in (LinearDiscriminant(), NearestMean()):
        assert network > success(reference, draw, users=150) + 0.2


def test_a_known_mean_is_the_limit_that_long_enrolment_reaches() -> None:
    """Bayes with the means and a covariance that is no multiple of the identity, all known."""
    mix = np.random.default_rng(1).normal(size=(M, M))
    right, trials, rng = 0, 4000, np.random.default_rng(2)
    for _ in range(trials):
        means, noise = 1.5 * rng.standard_normal((WAYS, M)), rng.standard_normal(M) @ mix
        apart = (means[0] + noise - means) @ np.linalg.inv(mix)
        right += int((apart**2).sum(1).argmin() == 0)

    def draw(rng: np.random.Generator, n: int) -> Floats:
        return 1.5 * rng.standard_normal(M) + rng.standard_normal((n, M)) @ mix

    found = success(LinearDiscriminant(), draw, users=150, enrolled=200)
    asked = 40 * WAYS * 10
    assert right / trials - 0.03 < found < right / trials + 2.6 / (4 * asked) ** 0.5


def quiet_directions(m: int, seed: int) -> object:
    """Users differ alike in all directions, of which some have little noise; no entry shows it."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((m, m)))[0]
    mix = np.exp(rng.standard_normal(m))[:, None] * axes

    def draw(rng: np.random.Generator, n: int) -> Floats:
        return 0.2 * rng.standard_normal(m) + rng.standard_normal((n, m)) @ mix

    return draw


def test_directions_with_little_noise_are_not_smoothed_away() -> None:
    """The share of the identity that is likeliest leaves .24 of them, as good as none .65."""
    draw = quiet_directions(100, seed=3)
    assert success(LinearDiscriminant(), draw) > success(NearestMean(), draw) + 0.5


@pytest.mark.parametrize("each", [2, 3])
def test_the_order_of_releases_changes_no_share(each: int) -> None:
    """Of two releases about their mean each is minus the other: halves must be of users."""
    rng, users = np.random.default_rng(0), 60
    values = np.repeat(np.arange(users), each)
    rows = 0.7 * rng.normal(size=(users, 40))[values] + rng.normal(size=(len(values), 40))
    shares = []
    for _ in range(4):
        shares.append(telling_share(rows, values))
        order = np.argsort(rng.permutation(len(values)) + 1e6 * rng.integers(2, size=len(values)))
        rows, values = rows[order], values[order]
    assert min(shares) >= 0.1  # the noise is isotropic, and 60 users are few


def test_too_few_users_to_choose_by_are_only_standardised() -> None:
    rows = np.random.default_rng(0).normal(size=(6, M))
    assert telling_share(rows, np.array([0, 0, 1, 1, 2, 2])) == 1.0


def test_one_entry_that_tells_users_is_enough() -> None:
    """Noise alone in the others: a share of the entries' distance is of the one that counts."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        rows = rng.standard_normal((n, M))
        rows[:, 5] = 100 * rng.standard_normal() + 1e-3 * rng.standard_normal(n)
        return rows

    assert success(LinearDiscriminant(), draw) > 0.99
    assert success(Prototypes(hidden=32, episodes=100), draw) > 0.99


def test_a_network_can_be_trained_where_nothing_is_to_be_learned_and_in_any_thread() -> None:
    """Figures do not depend on torch's modes, nor on which thread trains."""
    rng = np.random.default_rng(0)
    values = np.repeat(np.arange(20), 10)
    rows = (rng.normal(size=(20, M))[values] + rng.normal(size=(200, M))).astype(np.float32)
    network = Prototypes(hidden=16, episodes=50)

    def embedded() -> Floats:
        return network.fit(rows, values, SURFACE, seed=0)(rows)

    here = embedded()
    with torch.inference_mode():
        assert np.array_equal(embedded(), here)
    with ThreadPoolExecutor(3) as pool:
        for there in pool.map(lambda _: embedded(), range(3)):
            assert np.array_equal(there, here)


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


def test_users_who_do_not_differ_at_all_leave_a_discriminant_that_still_scores() -> None:
    """The variance between users is below that of their batches in every direction."""
    rng = np.random.default_rng(0)
    values = np.repeat(np.arange(6), 2)
    noise = rng.normal(size=(6, 4))
    releases = np.stack([noise, -noise], axis=1).reshape(12, 4).astype(np.float32)
    surface = Surface(Layout((), ()), 6, (), 4)
    scores = LinearDiscriminant().fit(releases, values, surface, 0)(releases)
    assert scores.shape == (12, 4)
    expected = (releases - releases.mean(0)) / releases.std(0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
