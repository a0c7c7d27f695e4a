"""Adversaries and what turns their scores into a posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, log_softmax
from scipy.stats import f_oneway
from sklearn.metrics import roc_auc_score

from leakage.adversaries import (
    Adversary,
    BoostedTrees,
    FirstLayer,
    Identifier,
    LikelihoodRatio,
    LogisticRegression,
    NearestMean,
    NeuralNetwork,
    Ordinal,
    RandomForest,
    Regression,
    Surface,
)
from leakage.adversaries.posterior import Observed, answer, calibrate, posterior
from leakage.adversaries.views import (
    Columns,
    CountSketch,
    FTest,
    Subspace,
    View,
    Whole,
    entries,
)
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.gradients.telling import f_statistic

WIDTH, FEATURES = 5, 4
LAYOUT = Layout(("first.weight", "first.bias"), ((WIDTH, FEATURES), (WIDTH,)))
SURFACE = Surface(LAYOUT, 3, one_hot=(1, 2, 3), features=FEATURES, levels=(0.0, 0.5, 1.0))
EXAMPLES: list[Adversary] = [
    RandomForest(trees=20),
    BoostedTrees(iterations=10),
    LogisticRegression(),
    NeuralNetwork(hidden=16, epochs=20),
    FirstLayer(),
    Ordinal(LogisticRegression()),
    Ordinal(RandomForest(trees=20)),
    *(
        Regression(base)
        for base in (
            RandomForest(trees=20),
            BoostedTrees(iterations=20),
            LogisticRegression(),
            NeuralNetwork(hidden=32, epochs=300),
        )
    ),
]


def leaves(base: type) -> set[type]:
    """All concrete adversaries of the product."""
    found = set()
    for child in base.__subclasses__():
        found |= leaves(child)
        if not child.__abstractmethods__ and child.__module__.startswith("leakage."):
            found.add(child)
    return found


def releases(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gradients of a linear layer: grad W[:, j] = x_j grad b, with x one-hot of the secret."""
    rng = np.random.default_rng(seed)
    values = np.arange(n) % 3
    b = rng.normal(1, 0.7, size=(n, WIDTH, 1))
    x = np.concatenate([rng.normal(size=(n, 1)), np.eye(3)[values]], axis=1)[:, None, :]
    return np.concatenate([(b * x).reshape(n, -1), b[:, :, 0]], 1).astype(np.float32), values


def test_every_adversary_has_an_example_here() -> None:
    elsewhere = leaves(Identifier) | {LikelihoodRatio}  # test_identification, test_membership
    assert {type(example) for example in EXAMPLES} == leaves(Adversary) - elsewhere
    assert len(elsewhere) >= 4


def seen_by(adversary: Adversary, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the view of an adversary leaves of releases (n, p)."""
    shadow, values = releases(90, 0)
    view = adversary.view(SURFACE, seed=0)
    reduce = view.fit([torch.from_numpy(shadow)], torch.from_numpy(values))
    return reduce(torch.from_numpy(table)).numpy()


@pytest.mark.parametrize("adversary", EXAMPLES, ids=lambda a: a.name)
class TestContract:
    def test_scores_are_aligned_with_the_support_and_see_what_is_there(
        self, adversary: Adversary
    ) -> None:
        shadow, known = releases(300, 0)
        scores = adversary.fit(seen_by(adversary, shadow), known, SURFACE, seed=0)
        seen, values = releases(300, 1)
        found = scores(seen_by(adversary, seen))
        assert found.shape == (300, 3)
        assert np.isfinite(found).all()
        for value in range(3):
            rest = np.delete(found, value, axis=1).max(1)
            assert roc_auc_score(values == value, found[:, value] - rest) > 0.85

    def test_the_same_seed_gives_the_same_scores_to_the_last_digit(
        self, adversary: Adversary
    ) -> None:
        shadow, values = releases(90, 0)
        shadow = seen_by(adversary, shadow)
        first, second = (adversary.fit(shadow, values, SURFACE, seed=3) for _ in range(2))
        seen = seen_by(adversary, releases(50, 1)[0])
        assert np.array_equal(first(seen), second(seen))

    def test_a_value_without_a_shadow_release_keeps_its_column(self, adversary: Adversary) -> None:
        shadow, values = releases(300, 0)
        shadow, some = seen_by(adversary, shadow), values != 1
        scores = adversary.fit(shadow[some], values[some], SURFACE, seed=0)
        seen, asked = releases(300, 1)
        found = scores(seen_by(adversary, seen))
        assert found.shape == (300, 3)
        # The one learns nothing from shadow releases, the other goes by levels in between.
        if not isinstance(adversary, FirstLayer | Regression):
            assert (found[:, 1] < found.max(1)).all()
        kept = asked != 1
        assert (found[kept].argmax(1) == asked[kept]).mean() > 0.8

    def test_the_releases_are_left_as_they_were(self, adversary: Adversary) -> None:
        shadow, values = releases(90, 0)
        shadow = seen_by(adversary, shadow)
        before = shadow.copy()
        adversary.fit(shadow, values, SURFACE, seed=0)(shadow)
        assert np.array_equal(shadow, before)

    def test_settings_are_frozen(self, adversary: Adversary) -> None:
        with pytest.raises(AttributeError):
            adversary.features = 3  # type: ignore[attr-defined]


def kept_by_f_test(table: NDArray[np.float32], values: NDArray[np.int64], count: int) -> list[int]:
    reduce = FTest(count).fit(torch.from_numpy(table).split(7), torch.from_numpy(values))
    numbers = torch.arange(table.shape[1], dtype=torch.float32).unsqueeze(0)
    return [int(number) for number in reduce(numbers)[0]]


@pytest.mark.parametrize(
    "adversary",
    [e for e in EXAMPLES if "LogisticRegression" in e.name or "NeuralNetwork" in e.name],
    ids=lambda a: a.name,
)
def test_an_entry_that_hardly_varies_in_the_shadow_may_be_large_elsewhere(
    adversary: Adversary,
) -> None:
    """Of a unit that is all but dead: 1 divided by its spread is beyond float32."""
    shadow, known = releases(90, 0)
    seen, _ = releases(90, 1)
    shadow[:, -1] *= np.float32(1e-43)
    assert shadow[:, -1].any()
    scores = adversary.fit(shadow, known, SURFACE, seed=0)
    assert np.isfinite(scores(seen)).all()


def test_the_f_test_keeps_the_columns_that_tell_and_drops_constant_ones() -> None:
    rng = np.random.default_rng(0)
    values = np.arange(200) % 2
    table = rng.normal(size=(200, 50)).astype(np.float32)
    table[:, [7, 30]] += 3 * values[:, None]
    table[:, [1, 2]] = 0.1
    assert kept_by_f_test(table, values, 2) == [7, 30]
    assert not {1, 2} & set(kept_by_f_test(table, values, 48))
    assert kept_by_f_test(table, values, 50) == list(range(50))


def test_a_column_that_separates_perfectly_is_kept() -> None:
    values = np.arange(100) % 2
    table = np.zeros((100, 4), dtype=np.float32)
    table[:, 2] = values
    assert kept_by_f_test(table, values, 1) == [2]


@pytest.mark.parametrize(("n", "p", "count"), [(40, 90, 6), (90, 40, 6), (10, 30, 16)])
def test_a_subspace_is_that_of_the_principal_directions(n: int, p: int, count: int) -> None:
    generator = torch.Generator().manual_seed(n)
    rows = torch.randn(n, p, generator=generator) * torch.linspace(3, 0.1, p) + 5
    reduce = Subspace(count).fit(rows.split(7), torch.zeros(n, dtype=torch.int64))
    _, _, turned = np.linalg.svd((rows - rows.mean(0)).double().numpy(), full_matrices=False)
    kept = turned[: min(count, n - 1)]
    found = reduce(torch.eye(p)).double().numpy()  # (p, m)
    assert found.shape == (p, len(kept))
    assert np.allclose(found @ found.T, kept.T @ kept, atol=1e-4)


def test_who_knows_of_noise_looks_along_the_principal_directions() -> None:
    noisy = entries("auto", 100, 1000, 0, noisy=True)
    assert isinstance(noisy, Subspace)
    assert entries("auto", 100, 1000, 0) == FTest(100)
    assert entries("f_test", 100, 1000, 0, noisy=True) == FTest(100)
    assert isinstance(entries("auto", 100, 10**6, 0, noisy=True), CountSketch)


@given(
    seed=st.integers(0, 10**6), n=st.integers(5, 60), c=st.integers(2, 4), rows=st.integers(1, 60)
)
def test_the_streamed_f_statistic_is_that_of_scipy(seed: int, n: int, c: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.permutation(np.arange(n) % c)
    table = (rng.normal(size=(n, 6)) * 10.0 ** rng.integers(-3, 3, 6) + 100).astype(np.float32)
    found = f_statistic(torch.from_numpy(table).split(rows), torch.from_numpy(values))
    groups = [table[values == value].astype(np.float64) for value in range(c)]
    expected = f_oneway(*groups).statistic
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


VIEWS: list[View] = [Whole(), Columns((3, 0)), FTest(2), FTest(10**6), CountSketch(4, 0)]


@pytest.mark.parametrize("view", VIEWS, ids=repr)
def test_a_view_is_linear_and_sees_each_row_alone(view: View) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(20, 11, generator=generator)
    reduce = view.fit(table.split(6), torch.arange(20) % 2)
    whole = reduce(table)
    torch.testing.assert_close(torch.cat([reduce(row) for row in table.split(1)]), whole)
    torch.testing.assert_close(reduce(2 * table - table.flip(0)), 2 * whole - whole.flip(0))
    again = view.fit([table], torch.arange(20) % 2)(table)
    torch.testing.assert_close(again, whole)


def test_a_count_sketch_is_a_sum_with_signs_and_keeps_distances_on_average() -> None:
    p, m = 1000, 64
    reduce = CountSketch(m, seed=3).fit([torch.zeros(1, p)], torch.zeros(1, dtype=torch.int64))
    each = reduce(torch.eye(p))  # (p, m)
    assert torch.equal(each.abs().sum(1), torch.ones(p))  # one bucket and a sign for each entry
    assert abs(float(each.sum(1).mean())) < 5 / p**0.5
    counts = each.abs().sum(0)
    assert counts.max() - counts.min() <= 1  # runs fill the buckets evenly
    x, y = torch.randn(2, p, generator=torch.Generator().manual_seed(1))
    products = []
    for seed in range(400):
        sketch = CountSketch(m, seed).fit([x.unsqueeze(0)], torch.zeros(1, dtype=torch.int64))
        a, b = sketch(torch.stack([x, y]))
        products.append(float(a @ b))
    spread = float(np.std(products)) / 20
    assert abs(np.mean(products) - float(x @ y)) < 4 * spread  # unbiased
    bound = float((x.square().sum() * y.square().sum() + (x @ y) ** 2) / m) ** 0.5
    assert np.std(products) < 1.2 * bound  # Charikar et al. (2002)


def test_more_buckets_than_entries_leave_a_release_as_it_is() -> None:
    rows = torch.randn(3, 5)
    assert torch.equal(CountSketch(5, 0).fit([rows], torch.zeros(3))(rows), rows)


@pytest.mark.parametrize(
    ("reduce", "p", "expected"),
    [
        ("auto", 2**16, FTest(8)),
        ("auto", 2**16 + 1, CountSketch(8, 1)),
        ("f_test", 2**20, FTest(8)),
        ("sketch", 10, CountSketch(8, 1)),
    ],
)
def test_the_view_goes_by_the_setting_and_the_entries_seen(
    reduce: Any, p: int, expected: View
) -> None:
    surface = Surface(Layout(("w",), ((p,),)), 2, (), 0)
    assert RandomForest(features=8, reduce=reduce).view(surface, seed=1) == expected


def test_an_unknown_way_to_reduce_is_refused() -> None:
    with pytest.raises(LeakageError) as error:
        RandomForest(reduce="pca")  # type: ignore[arg-type]
    assert str(error.value) == (
        "attack.adversaries: RandomForest.reduce knows 'auto', 'f_test' and 'sketch', got 'pca'"
    )


@pytest.mark.parametrize(
    ("kind", "setting", "least"),
    [
        (RandomForest, "features", "of at least 1"),
        (RandomForest, "trees", "of at least 1"),
        (BoostedTrees, "iterations", "of at least 1"),
        (LogisticRegression, "strength", "above 0"),
        (NeuralNetwork, "hidden", "of at least 1"),
        (NeuralNetwork, "epochs", "of at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(kind: Any, setting: str, least: str) -> None:
    with pytest.raises(LeakageError) as error:
        kind(**{setting: 0})
    assert str(error.value) == (
        f"attack.adversaries: {kind.__name__}.{setting} is a number {least}, got 0"
    )


def test_the_first_layer_needs_a_one_hot_secret_and_a_linear_layer_with_a_bias() -> None:
    FirstLayer().check(SURFACE)
    with pytest.raises(LeakageError, match="reads a secret that is one-hot columns of x"):
        FirstLayer().check(Surface(LAYOUT, 3, (), FEATURES))
    no_bias = Layout(("first.weight",), ((WIDTH, FEATURES),))
    with pytest.raises(LeakageError, match="needs a linear layer with a bias over the 4 features"):
        FirstLayer().check(Surface(no_bias, 3, (1, 2, 3), FEATURES))


def test_the_first_layer_is_silent_where_its_bias_has_no_gradient() -> None:
    shadow, values = releases(9, 0)
    silent = seen_by(FirstLayer(), np.zeros_like(shadow))
    assert (FirstLayer().fit(shadow, values, SURFACE, 0)(silent) == 0).all()


# Calibration


def scores_of(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.zeros_like(log_odds), log_odds], axis=1)


def test_calibration_finds_the_slope_and_the_bias_of_a_distorted_posterior() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=40_000) * 2
    values = (rng.random(40_000) < expit(log_odds)).astype(np.int64)
    distorted = scores_of(3 * log_odds + 5)
    log_q = calibrate([distorted], values)([distorted])
    assert np.abs(np.exp(log_q[:, 1]) - expit(log_odds)).max() < 0.03


def test_calibration_turns_a_score_of_the_wrong_sign_around() -> None:
    rng = np.random.default_rng(1)
    values = np.arange(2000) % 2
    backwards = scores_of(-2.0 * values + rng.normal(size=2000))
    log_q = calibrate([backwards], values)([backwards])
    assert roc_auc_score(values, log_q[:, 1]) > 0.9


def test_calibration_of_scores_that_say_nothing_is_the_share_of_each_value() -> None:
    values = np.array([0, 0, 0, 1] * 250)
    log_q = calibrate([np.zeros((1000, 2))], values)([np.zeros((3, 2))])
    np.testing.assert_allclose(np.exp(log_q), [[0.75, 0.25]] * 3, atol=2e-3)


@given(n=st.integers(2, 200), c=st.integers(2, 6))
def test_a_perfect_split_has_a_finite_posterior_with_its_floor(n: int, c: int) -> None:
    values = np.arange(n * c) % c
    perfect = np.where(np.eye(c)[values] > 0, 0.0, -np.inf)
    log_q = calibrate([perfect], values)([perfect])
    assert np.isfinite(log_q).all()
    np.testing.assert_allclose(np.exp(log_q).sum(1), 1)
    floor = 1 / (n * c + 1) / c
    assert np.exp(log_q).min() >= floor * (1 - 1e-9)
    assert (log_q.argmax(1) == values).all()
    # Softened targets leave 1 / (n + 2), the floor 1 / (n + 1), of which c - 1 of c values share.
    left = (floor * c + 1 / (n * c + 2)) * (c - 1) / c
    assert 1 - np.exp(log_q).max() == pytest.approx(left, rel=0.1)


def test_stacking_weighs_a_source_by_what_it_knows() -> None:
    rng = np.random.default_rng(2)
    values = np.arange(4000) % 2
    sharp = scores_of((2 * values - 1) * 1.0 + rng.normal(size=4000))
    noise = scores_of(rng.normal(size=4000) * 50)
    both = calibrate([noise, sharp], values)([noise, sharp])
    alone = calibrate([sharp], values)([sharp])
    rows = np.arange(4000)
    assert both[rows, values].mean() == pytest.approx(alone[rows, values].mean(), abs=1e-3)


# Rounds and priors


def test_independent_rounds_add_their_likelihood_ratios_to_the_prior() -> None:
    fitted, prior = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    q = np.log(np.array([[0.2, 0.8]])), np.log(np.array([[0.6, 0.4]]))
    odds = (0.1 / 0.9) * (0.8 / 0.2) * (0.4 / 0.6)
    found = posterior(q, fitted, prior)
    assert np.exp(found[0, 1]) == pytest.approx(odds / (1 + odds))


def test_the_prior_under_which_scores_were_fitted_is_divided_out_once_a_round() -> None:
    fitted = np.array([0.2, 0.8])
    silent = np.log(np.array([[0.2, 0.8]]))  # says what pi says: nothing
    for rounds in (1, 2, 5):
        found = posterior([silent] * rounds, fitted, np.array([0.5, 0.5]))
        np.testing.assert_allclose(np.exp(found), [[0.5, 0.5]])


def test_gaussian_rounds_summed_have_the_posterior_of_the_exact_test() -> None:
    rng = np.random.default_rng(3)
    m, d = 20_000, 1.0
    values = np.arange(m) % 2

    def seen(secrets: NDArray[np.int64]) -> NDArray[np.float64]:
        return rng.normal(size=len(secrets)) + d * (secrets - 0.5)

    asked = rng.integers(2, size=500)
    known, trials = [seen(values) for _ in range(3)], [seen(asked) for _ in range(3)]
    rounds = [Observed([scores_of(a)], [scores_of(b)]) for a, b in zip(known, trials, strict=True)]
    found = answer(rounds, values, np.array([0.5, 0.5]), dependent=False)
    exact = log_softmax(scores_of(d * np.sum(trials, axis=0)), axis=1)
    assert np.abs(np.exp(found.log_posterior) - np.exp(exact)).max() < 0.03


def test_persistent_rounds_are_one_observation() -> None:
    rng = np.random.default_rng(4)
    values = np.arange(2000) % 2
    score = scores_of(rng.normal(size=2000) + values)
    once = answer([Observed([score], [score])], values, np.array([0.5, 0.5]), dependent=True)
    thrice = answer([Observed([score], [score])] * 3, values, np.array([0.5, 0.5]), dependent=True)
    np.testing.assert_allclose(once.log_posterior, thrice.log_posterior, atol=1e-3)


def test_scores_beyond_the_floor_keep_their_order() -> None:
    """A static adversary's scores may lie anywhere: one posterior for all must not be AUROC .5."""
    rng = np.random.default_rng(0)
    values = np.arange(400) % 2
    raw = rng.normal(size=400) + 4 * values
    known = np.stack([np.zeros(400), raw], axis=1)
    beyond = np.stack([np.zeros(400), raw + 500], axis=1)
    given = answer([Observed([known], [beyond])], values, np.full(2, 0.5), dependent=False)
    ranked = given.ranking[:, 1] - given.ranking[:, 0]
    assert roc_auc_score(values, ranked) == roc_auc_score(values, raw)
    assert len(np.unique(given.log_posterior[:, 1])) == 1  # what the floor leaves
    # Where the floor hides nothing, it decides.
    plain = answer([Observed([known], [known])], values, np.full(2, 0.5), dependent=False)
    assert np.abs(plain.ranking - plain.log_posterior).max() < 1e-4


def test_a_level_is_not_told_by_what_tells_users_apart() -> None:
    with pytest.raises(LeakageError) as error:
        Ordinal(NearestMean()).check(SURFACE)
    assert str(error.value) == (
        "attack.adversaries: NearestMean tells users apart, not levels, so Ordinal cannot use it"
    )
