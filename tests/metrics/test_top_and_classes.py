"""The secret among the likeliest values, and each class by itself, against plain twins."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from drawn_batches import answers, fresh
from hypothesis import given, settings
from hypothesis import strategies as st

from leakage.errors import LeakageError
from leakage.metrics.attack import asr, by_class, top, worst_class
from leakage.metrics.intervals import estimate_share
from leakage.metrics.jackknife import jackknife_variance

steady = settings(deadline=None, derandomize=True, max_examples=40)


@steady
@given(c=st.integers(2, 5), most=st.integers(1, 5), seed=st.integers(0, 999))
def test_top_is_the_mean_over_all_orders_of_tied_values(c: int, most: int, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(1, 4, (12, c))
    posterior, truth = raw / raw.sum(axis=1, keepdims=True), np.arange(12) % c
    most = min(most, c)
    shares = []
    for row, a in zip(raw, truth, strict=True):
        orders = [
            order for order in permutations(range(c)) if (np.diff(row[list(order)]) <= 0).all()
        ]
        shares.append(np.mean([a in order[:most] for order in orders]))
    found = top(posterior, truth, fresh(12), most)
    assert found.value == pytest.approx(np.mean(shares))
    if most == 1:
        assert found == asr(posterior, truth, fresh(12))


def test_top_of_all_values_is_certain_of_a_constant_is_chance_and_of_none_is_refused() -> None:
    log_posterior, truth = answers(60, 4, 0)
    assert top(np.exp(log_posterior), truth, fresh(60), 4).value == 1
    assert top(np.full((60, 4), 0.25), truth, fresh(60), 3).value == pytest.approx(3 / 4)
    for most in (0, 5):
        with pytest.raises(LeakageError, match=rf"most is to be 1..4 values, got {most}"):
            top(np.exp(log_posterior), truth, fresh(60), most)


def test_each_class_stands_alone_and_the_worst_is_one_of_them() -> None:
    log_posterior, truth = answers(200, 3, 0, digits=9)
    posterior = np.exp(log_posterior)
    shares = by_class(posterior[truth != 1], truth[truth != 1], fresh(int(np.sum(truth != 1))))
    assert list(shares) == [0, 2]
    for a, found in shares.items():
        right = (posterior.argmax(axis=1) == a)[truth == a].astype(np.float64)
        variance = jackknife_variance(right, fresh(len(right)))
        twin = estimate_share(float(right.mean()), variance, len(right), len(right))
        assert (found.n, found.value) == (len(right), pytest.approx(twin.value))
        assert found.low == pytest.approx(twin.low, abs=0.01)  # the twin's pool is smaller
    worst = worst_class(posterior, truth, fresh(200))
    least = min(by_class(posterior, truth, fresh(200)).values(), key=lambda found: found.value)
    assert (worst.value, worst.low, worst.high) == (least.value, least.low, least.high)
