"""Accuracy and its loss: closed forms, plain twins, certainty, coverage of the intervals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

from leakage.errors import LeakageError
from leakage.metrics.intervals import Estimate
from leakage.metrics.utility import accuracy, accuracy_loss

Z = stats.norm.ppf(0.975)
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def own(n: int) -> Ints:
    """Each record its own unit, in no order, with gaps between the numbers."""
    return np.random.default_rng(n).permutation(n) * 7


def runs(b: int, c: int, n: int) -> tuple[Bools, Bools]:
    """Predictions of two runs: b records right in the first alone, c in the second alone."""
    change = np.zeros(n, dtype=np.int64)
    change[:b], change[b : b + c] = 1, -1
    rest = np.arange(n) % 3 > 0
    return np.where(change == 0, rest, change > 0), np.where(change == 0, rest, change < 0)


# Accuracy


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_limits_of_an_accuracy_lie_z_standard_errors_from_it(right: int, wrong: int) -> None:
    """Wilson's limits are shares of their own standard error, not of that of the estimate."""
    n = right + wrong
    found = accuracy(np.arange(n) < right, own(n))
    if not n:
        assert found.note == "undefined: there is no record"
        assert np.isnan([found.value, found.low, found.high]).all()
        return
    assert found.value == right / n
    for limit, edge in ((found.low, 0), (found.high, 1)):
        if limit == edge:
            assert found.value == edge
        else:
            off = abs(found.value - limit)
            assert off == pytest.approx(Z * np.sqrt(limit * (1 - limit) / n))
    assert found.low <= found.value <= found.high
    assert (found.n, found.units) == (n, n)
    assert ("few units" in found.note) == (n < 10)
    assert ("one-sided" in found.note) == (right == 0 or wrong == 0)


def test_an_accuracy_is_wilsons_of_another_library() -> None:
    found = accuracy(np.arange(700) < 590, own(700))
    wanted = stats.binomtest(590, 700).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("units", [own(400), np.arange(400) // 4], ids=["own", "four"])
def test_a_certain_accuracy_still_has_a_width(right: bool, units: Ints) -> None:
    found = accuracy(np.full(400, right), units)
    m = len(np.unique(units))
    z = Z if m == 400 else stats.t.ppf(0.975, m - 1)
    wanted = (m / (m + z**2), 1.0) if right else (0.0, z**2 / (m + z**2))
    assert (found.low, found.high) == pytest.approx(wanted)
    assert found.note == "one-sided"


def test_records_that_agree_within_their_units_count_once() -> None:
    """The interval is that of the units alone, but for Student's quantile."""
    one = np.random.default_rng(0).random(200) < 0.8
    single, repeated = accuracy(one, own(200)), accuracy(np.repeat(one, 5), np.repeat(own(200), 5))
    assert repeated.value == single.value
    assert (repeated.n, repeated.units) == (1000, 200)
    assert repeated.high - repeated.low == pytest.approx(single.high - single.low, rel=0.02)
    assert repeated.high - repeated.low > single.high - single.low
    naive = accuracy(np.repeat(one, 5), own(1000))
    assert naive.high - naive.low < 0.5 * (repeated.high - repeated.low)


def test_the_variance_of_units_of_different_sizes_is_that_of_leaving_each_out() -> None:
    """Wilson's limits at the effective number, from the delete-one jackknife over units."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 12, 300)
    units = np.repeat(np.arange(300), sizes)
    chance = np.repeat(rng.beta(6, 2, 300), sizes)
    hits = rng.random(len(units)) < chance
    found = accuracy(hits, units)
    without = np.array([hits[units != unit].mean() for unit in range(300)])
    variance = 299 / 300 * ((without - without.mean()) ** 2).sum()
    p, t = hits.mean(), stats.t.ppf(0.975, 299)
    effective = p * (1 - p) / variance
    assert effective < 0.8 * len(hits)
    for limit in (found.low, found.high):
        assert abs(p - limit) == pytest.approx(
            t * np.sqrt(limit * (1 - limit) / effective), rel=0.01
        )


def test_records_that_differ_within_their_units_count_no_more_than_strangers() -> None:
    """Each unit has one right and one wrong record: without a cap there would be no width."""
    units = np.arange(100) // 2
    found, strangers = (
        accuracy(np.arange(100) % 2 > 0, units),
        accuracy(np.arange(100) < 50, own(100)),
    )
    assert found.high - found.low == pytest.approx(strangers.high - strangers.low, rel=0.03)


def test_one_unit_has_no_interval_and_few_units_say_so() -> None:
    hits = np.arange(30) < 20
    found = accuracy(hits, np.zeros(30, dtype=np.int64))
    assert (found.value, found.note) == (pytest.approx(2 / 3), "no interval: one user")
    assert np.isnan([found.low, found.high]).all()
    assert accuracy(hits, np.arange(30) % 6).note == "few units: 6"
    assert accuracy_loss(hits, ~hits, np.arange(30) % 6).note == "few units: 6"
    assert accuracy_loss(hits, ~hits, np.zeros(30, dtype=np.int64)).note == "no interval: one user"


# The loss of accuracy


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400))
def test_a_loss_is_the_difference_of_two_accuracies(b: int, c: int, rest: int) -> None:
    n = b + c + rest
    none, hits = runs(b, c, n)
    found, back = accuracy_loss(none, hits, own(n)), accuracy_loss(hits, none, own(n))
    assert found.value == pytest.approx(none.mean() - hits.mean())
    assert -1 <= found.low < found.value < found.high <= 1
    assert (back.value, back.low, back.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_a_run_is_not_worse_than_itself_but_could_be() -> None:
    hits = np.arange(600) < 500
    found = accuracy_loss(hits, hits.copy(), own(600))
    reach = Z**2 / (600 + Z**2)
    assert found.value == 0
    assert (found.low, found.high) == pytest.approx((-reach, reach))
    units = np.arange(600) // 3
    t = stats.t.ppf(0.975, 199)
    clustered = accuracy_loss(hits, hits.copy(), units)
    assert clustered.high == pytest.approx(t**2 / (200 + t**2))
    assert clustered.low == -clustered.high


@pytest.mark.parametrize("n", [5, 200, 3000])
def test_where_nothing_became_better_the_upper_limit_is_wilsons(n: int) -> None:
    b = n // 5
    none, hits = runs(b, 0, n)
    wanted = stats.binomtest(b, n).proportion_ci(method="wilson").high
    assert accuracy_loss(none, hits, own(n)).high == pytest.approx(wanted)


@pytest.mark.parametrize("worse", [True, False])
def test_a_run_that_loses_all_has_the_edge_as_its_limit(worse: bool) -> None:
    right, wrong = np.ones(44, dtype=np.bool_), np.zeros(44, dtype=np.bool_)
    found = accuracy_loss(right, wrong, own(44)) if worse else accuracy_loss(wrong, right, own(44))
    inner = (44 - Z**2) / (44 + Z**2)  # (1 - d)^2 = z^2 (1 - d^2) / N
    limits = (found.low, found.high) if worse else (-found.high, -found.low)
    assert limits == pytest.approx((inner, 1.0))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (3, 1, 200), (0, 4, 300), (90, 60, 700)])
def test_the_limits_are_those_of_the_score_test(b: int, c: int, n: int) -> None:
    """A plain twin: the likelihood under a fixed loss is maximised by search, not by formula."""

    def statistic(d: float) -> float:
        def minus_log_likelihood(q: float) -> float:
            shares = np.array([q + d, q, 1 - 2 * q - d])
            return -float(np.array([b, c, n - b - c]) @ np.log(np.maximum(shares, 1e-300)))

        least, most = max(0.0, -d), (1 - d) / 2
        q = optimize.minimize_scalar(
            minus_log_likelihood, bounds=(least, most), method="bounded", options={"xatol": 1e-12}
        ).x
        return float((b - c - n * d) / np.sqrt(n * (2 * q + d - d**2)))

    found = accuracy_loss(*runs(b, c, n), own(n))
    assert statistic(found.low) == pytest.approx(Z, abs=2e-3)
    assert statistic(found.high) == pytest.approx(-Z, abs=2e-3)


def test_what_is_no_prediction_is_refused() -> None:
    with pytest.raises(LeakageError) as refused:
        accuracy(np.ones(3), np.arange(3))  # type: ignore[arg-type]
    assert str(refused.value) == (
        "the accuracy takes hits (N,) of bool and units (N,), got shapes (3,) of float64 and (3,)"
    )
    with pytest.raises(LeakageError, match=r"got shapes \(3,\) of bool and \(4,\)"):
        accuracy_loss(np.ones(3, np.bool_), np.ones(3, np.bool_), np.arange(4))
    with pytest.raises(LeakageError, match=r"got shapes \(4,\) of bool and \(3,\)"):
        accuracy_loss(np.ones(4, np.bool_), np.ones(3, np.bool_), np.arange(3))


# Coverage

TIMES = 2000


@pytest.mark.parametrize("n", [200, 600, 3000])
@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_coverage_of_an_accuracy(n: int, p: float) -> None:
    chances = stats.binom.pmf(np.arange(n + 1), n, p)  # exact, not simulated
    covered = 0.0
    for right in np.flatnonzero(chances > 1e-9):
        estimate = accuracy(np.arange(n) < right, own(n))
        covered += chances[right] * (estimate.low <= p <= estimate.high)
    assert 0.93 <= covered <= 0.975


@pytest.mark.parametrize("n", [200, 600, 3000])
@pytest.mark.parametrize(
    ("worse", "better"), [(0.01, 0.01), (0.02, 0.005), (0.05, 0.05), (0.1, 0.02), (0.05, 0.0)]
)
def test_coverage_of_a_loss(n: int, worse: float, better: float) -> None:
    assert 0.93 <= loss_coverage(n, worse, better) <= 0.975


@pytest.mark.parametrize("n", [200, 600, 1000])
@pytest.mark.parametrize(("worse", "better"), [(0.001, 0.001), (0.003, 0.0), (0.002, 0.004)])
def test_a_loss_of_hardly_any_record_is_covered_too(n: int, worse: float, better: float) -> None:
    """Whole records make it too wide, or a little too narrow."""
    assert loss_coverage(n, worse, better) >= 0.92


def loss_coverage(n: int, worse: float, better: float) -> float:
    @cache
    def interval(b: int, c: int) -> Estimate:
        return accuracy_loss(*runs(b, c, n), own(n))

    rng = np.random.default_rng(n)
    drawn = rng.multinomial(n, [worse, better, 1 - worse - better], TIMES)[:, :2].tolist()
    found = [interval(b, c) for b, c in drawn]
    return float(np.mean([e.low <= worse - better <= e.high for e in found]))


@pytest.mark.parametrize("m", [50, 200, 700])
def test_coverage_where_units_hold_several_records(m: int) -> None:
    """Of 1 to 5 records a unit; a third of the answers are the unit's and the others their own."""
    rng, p, worse, better = np.random.default_rng(m), 0.8, 0.08, 0.03
    covered = np.zeros(4)
    times = 600
    for _ in range(times):
        units = np.repeat(np.arange(m), rng.integers(1, 6, m))
        shared = rng.random(len(units)) < np.sqrt(1 / 3) + 0.2
        u, v = (np.where(shared, rng.random(m)[units], rng.random(len(units))) for _ in range(2))
        hits = u < p
        change = np.select([v < worse, v < worse + better], [1, -1])
        ones = np.where(change == 0, hits, change > 0)
        others = np.where(change == 0, hits, change < 0)
        records = np.arange(len(units))
        covered += [
            low <= truth <= high
            for low, truth, high in (
                (e.low, truth, e.high)
                for e, truth in (
                    (accuracy(hits, units), p),
                    (accuracy_loss(ones, others, units), worse - better),
                    (accuracy(hits, records), p),
                    (accuracy_loss(ones, others, records), worse - better),
                )
            )
        ]
    accuracy_, loss, *naive = covered / times
    assert 0.92 <= accuracy_ <= 0.98
    assert 0.92 <= loss <= 0.98
    assert max(naive) < 0.92  # records are no units
