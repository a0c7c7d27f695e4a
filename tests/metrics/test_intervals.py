"""The jackknife: its dense twin, its edges, and its coverage where the truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from drawn_batches import Floats, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from leakage.errors import LeakageError
from leakage.metrics.intervals import (
    Draws,
    Estimate,
    Variance,
    certain_error,
    estimate_difference,
    estimate_mean,
    estimate_share,
)
from leakage.metrics.jackknife import jackknife_variance

steady = settings(deadline=None, derandomize=True, max_examples=40)


def dense_variance(c: Floats, n_tu: Floats) -> float:
    """The formula of the notes for one stratum and one pool, word by word."""
    trials, size = n_tu.shape
    k = n_tu.sum(axis=1).mean()
    p = k / size
    s = ((c - c.mean())[:, None] * n_tu).mean(axis=0)
    f = (size - 1) / size * (size / (size - k)) ** 2
    noise = size * p * (1 - p) * c.var(ddof=1) / trials
    return max(0, f * (np.sum(s**2) - noise)) + c.var(ddof=1) / trials


@steady
@given(
    size=st.integers(8, 30), k=st.integers(1, 2), trials=st.integers(2, 40), seed=st.integers(0, 99)
)
def test_variance_equals_the_dense_formula(size: int, k: int, trials: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = batches(rng, size, k, trials)
    weight = rng.normal(size=size)
    c = weight[units].sum(axis=1) + rng.normal(size=trials) * rng.integers(0, 3)
    n_tu = np.zeros((trials, size))
    np.put_along_axis(n_tu, units, 1, axis=1)
    found = jackknife_variance(c, Draws(units, np.zeros(size, dtype=np.int64)))
    assert found.value == pytest.approx(dense_variance(c, n_tu), rel=1e-9, abs=1e-15)
    padded = np.hstack([units, np.full((trials, 2), -1)])
    again = jackknife_variance(c, Draws(padded, np.zeros(size, dtype=np.int64)))
    assert again == found
    assert found.freedom == min(size, trials) - 1
    assert found.batches == min(trials, size // k)


@steady
@given(seed=st.integers(0, 99))
def test_strata_with_pools_of_their_own_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([0, 1], 30))
    draws = Draws(batches(rng, 20, 3, 60) + 20 * truth[:, None], np.repeat([0, 1], 20))
    c = rng.normal(size=60)
    each = [jackknife_variance(c[truth == a], draws.take(truth == a)).value for a in (0, 1)]
    assert jackknife_variance(c, draws, truth).value == pytest.approx(sum(each))


def test_the_order_of_trials_and_the_names_of_units_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    units, c = batches(rng, 40, 3, 90), rng.normal(size=90)
    pools = np.repeat([0, 1], 20)
    order, names = rng.permutation(90), rng.permutation(40)
    renamed = np.empty(40, dtype=np.int64)
    renamed[names] = pools
    found = jackknife_variance(c, Draws(units, pools)).value
    assert jackknife_variance(c[order], Draws(units[order], pools)).value == pytest.approx(found)
    assert jackknife_variance(c, Draws(names[units], renamed)).value == pytest.approx(found)


def test_one_user_a_batch_gives_the_t_interval_over_users() -> None:
    """Every user once per trial, many trials each: V is the variance of the users' mean."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=30)
    units = np.tile(np.arange(30), 400)[:, None]
    c = means[units[:, 0]] + rng.normal(size=len(units)) * 0.01
    found = jackknife_variance(c, Draws(units, np.zeros(30, dtype=np.int64)))
    assert found.value == pytest.approx(means.var(ddof=1) / 30, rel=0.03)
    share = estimate_share(0.5, found, len(c), 30)
    assert found.freedom == 29
    logit = t.ppf(0.975, 29) * np.sqrt(found.value) / 0.25
    assert share.high == pytest.approx(1 / (1 + np.exp(-logit)))


def test_more_than_a_quarter_of_a_pool_is_refused_and_one_trial_too() -> None:
    rng = np.random.default_rng(0)
    draws = Draws(batches(rng, 40, 11, 50), np.zeros(40, dtype=np.int64))
    found = jackknife_variance(rng.normal(size=50), draws)
    reason = (
        "no interval: a trial draws on average 11 of the 40 units of pool 0, "
        "allowed is a quarter of them"
    )
    assert np.isnan(found.value)
    assert found.reason == reason
    share = estimate_share(1.0, found, 50, 40)
    assert np.isnan([share.low, share.high]).all()
    assert share.note == reason
    one = jackknife_variance(np.ones(1), draws.take(np.array([0])))
    assert one.reason == "no interval: class 0 has 1 trial"


@pytest.mark.parametrize(
    ("units", "pools", "sentence"),
    [
        ([[0, 5]], [0, 0], r"Draws.units holds ids 0..5, allowed are -1 \(padding\) to 1"),
        ([0, 1], [0, 0], r"Draws takes units \(n, k\) and pools \(U,\), got shapes \(2,\) and"),
        ([[0, 1]], [0, -1], "Draws.pools are numbered from 0, got -1"),
    ],
)
def test_draws_refuse_what_does_not_fit(
    units: list[list[int]], pools: list[int], sentence: str
) -> None:
    with pytest.raises(LeakageError, match=sentence):
        Draws(np.array(units), np.array(pools))


@steady
@given(
    thousandths=st.integers(0, 1000),
    variance=st.floats(0, 1),
    batches=st.integers(1, 500),
    freedom=st.integers(3, 500),
)
def test_limits_stay_in_the_range(
    thousandths: int, variance: float, batches: int, freedom: int
) -> None:
    value, given_ = thousandths / 1000, Variance(variance, batches, freedom)
    share = estimate_share(value, given_, 9, 9)
    assert 0 <= share.low <= value + 1e-12 <= share.high + 2e-12 <= 1 + 2e-12
    mirror = estimate_share(1 - value, given_, 9, 9)
    assert mirror.low == pytest.approx(1 - share.high, abs=1e-6)
    mean = estimate_mean(3 * value - 1, given_, 9, 9, -1.0, 2.0)
    assert -1 <= mean.low <= mean.value <= mean.high <= 2
    assert mean.high > mean.low


@steady
@given(
    thousandths=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    variances=st.tuples(st.floats(0, 0.2), st.floats(0, 0.2)),
    correlation=st.floats(-1, 1),
)
def test_a_difference_stays_between_those_of_the_limits(
    thousandths: tuple[int, int], variances: tuple[float, float], correlation: float
) -> None:
    x, y = (
        estimate_share(a / 1000, Variance(v, 40, 20), 9, 9)
        for a, v in zip(thousandths, variances, strict=True)
    )
    found = estimate_difference(x, y, correlation)
    assert x.low - y.high - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= x.high - y.low + 1e-9
    mirror = estimate_difference(y, x, correlation)
    assert (mirror.low, mirror.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_a_difference_of_symmetric_limits_is_the_law_of_the_cosine() -> None:
    x, y = Estimate(0.6, 0.3, 0.9, 9, 9), Estimate(0.5, 0.1, 0.9, 9, 9)
    for correlation, reach in ((0.0, 0.5), (1.0, 0.1), (-1.0, 0.7), (0.5, np.sqrt(0.13))):
        found = estimate_difference(x, y, correlation)
        assert (found.low, found.high) == pytest.approx((0.1 - reach, 0.1 + reach))


def test_a_mean_has_students_limits_cut_at_the_edges() -> None:
    found = estimate_mean(0.5, Variance(0.01, 40, 20), 100, 50, 0.0, 2.0)
    assert found.high - found.value == pytest.approx(t.ppf(0.975, 20) * 0.1)
    assert (found.value - found.low, found.note) == (pytest.approx(found.high - found.value), "")
    beside = estimate_mean(0.1, Variance(0.01, 40, 20), 100, 50, 0.0, 2.0)
    assert (beside.low, beside.note) == (0.0, "one-sided")
    alike = estimate_mean(0.5, Variance(0.0, 40, 20), 100, 50, 0.0, 2.0)
    assert alike.high - 0.5 == pytest.approx(2 * certain_error(40))
    refused = estimate_mean(0.5, Variance(np.nan, reason="no interval: x"), 100, 50, 0.0, 2.0)
    assert np.isnan(refused.low)
    assert refused.note == "no interval: x"


def test_certainty_has_a_one_sided_limit_that_covers() -> None:
    """Batches with error e just above the limit show no error in m of them with chance 5%."""
    assert (1 - certain_error(40)) ** 40 == pytest.approx(0.05)
    share = estimate_share(1.0, Variance(0.0, 40, 99), 100, 100)
    assert (share.low, share.high, share.note) == (0.05 ** (1 / 40), 1.0, "one-sided")


def test_ten_thousand_trials_of_256_records_take_seconds() -> None:
    rng = np.random.default_rng(0)
    draws = Draws(rng.integers(0, 20_000, (10_000, 256)), np.zeros(20_000, dtype=np.int64))
    start = time.perf_counter()
    assert jackknife_variance(rng.normal(size=10_000), draws).value > 0
    assert time.perf_counter() - start < 10
