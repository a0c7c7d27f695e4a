"""The figures themselves: plain twins, second libraries, chance, certainty, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_batches import Floats, Ints, answers, both, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc

from leakage.errors import LeakageError
from leakage.metrics.attack import (
    advantage,
    asr,
    balanced_accuracy,
    bits,
    worst_class,
)
from leakage.metrics.information import information_floor
from leakage.metrics.intervals import Draws, certain_error, estimate_share
from leakage.metrics.jackknife import jackknife_variance
from leakage.metrics.ranking import auroc, gain, tpr_at_fpr

steady = settings(deadline=None, derandomize=True, max_examples=40)
HALF = np.array([0.5, 0.5])


def twin_area(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """All pairs, one by one."""
    wins = [
        1.0 if p > q else 0.5 if p == q else 0.0
        for p in scores[positive]
        for q in scores[~positive]
    ]
    return float(np.mean(wins))


def twin_placements(scores: Floats, truth: Ints) -> Floats:
    """Each trial's share of trials of the other class that it is on the right side of."""
    out = []
    for score, a in zip(scores, truth, strict=True):
        signs = [np.sign(score - other) * (1 if a else -1) for other in scores[truth != a]]
        out.append(0.5 + 0.5 * np.mean(signs))
    return np.array(out)


@steady
@given(n=st.integers(10, 60), seed=st.integers(0, 999))
def test_auroc_and_its_interval_equal_the_plain_twin(n: int, seed: int) -> None:
    log_posterior, truth = answers(n, 2, seed)
    odds = log_posterior[:, 1] - log_posterior[:, 0]
    found = auroc(log_posterior, truth, fresh(n))
    assert found.value == pytest.approx(twin_area(odds, truth == 1))
    variance = jackknife_variance(twin_placements(odds, truth), fresh(n), truth)
    twin = estimate_share(found.value, variance, n, n)
    assert (found.low, found.high) == pytest.approx((twin.low, twin.high), abs=1e-9)
    assert found.low <= found.value <= found.high


@steady
@given(n=st.integers(20, 80), c=st.integers(2, 5), seed=st.integers(0, 999))
def test_auroc_equals_sklearn_and_torchmetrics(n: int, c: int, seed: int) -> None:
    log_posterior, truth = answers(n, c, seed, digits=6)
    posterior = np.exp(log_posterior)
    value = auroc(log_posterior, truth, fresh(n)).value
    if c == 2:
        assert value == pytest.approx(roc_auc_score(truth, posterior[:, 1]))
        other = binary_auroc(torch.tensor(posterior[:, 1]), torch.tensor(truth))
        assert value == pytest.approx(float(other), abs=1e-6)
    else:
        assert value == pytest.approx(roc_auc_score(truth, posterior, multi_class="ovr"))


@steady
@given(n=st.integers(20, 80), c=st.integers(2, 5), seed=st.integers(0, 999))
def test_shares_equal_their_twins_and_ignore_the_names_of_values(n: int, c: int, seed: int) -> None:
    log_posterior, truth = answers(n, c, seed, digits=9)
    posterior, answer = np.exp(log_posterior), log_posterior.argmax(axis=1)
    share = asr(posterior, truth, fresh(n))
    balanced = balanced_accuracy(posterior, truth, fresh(n))
    worst = worst_class(posterior, truth, fresh(n))
    assert share.value == pytest.approx(np.mean(answer == truth))
    assert balanced.value == pytest.approx(balanced_accuracy_score(truth, answer))
    each = [np.mean(answer[truth == a] == a) for a in range(c)]
    assert worst.value == pytest.approx(min(each))
    assert worst.note.split(";")[0] == f"class {int(np.argmin(each))}"
    assert worst.n == np.sum(truth == np.argmin(each))
    names = np.random.default_rng(seed).permutation(c)
    renamed = np.empty_like(log_posterior)
    renamed[:, names] = log_posterior
    for metric, answered in ((auroc, renamed), (asr, np.exp(renamed))):
        before = metric(log_posterior if metric is auroc else posterior, truth, fresh(n))
        after = metric(answered, names[truth], fresh(n))
        assert (after.value, after.low) == pytest.approx((before.value, before.low))


def test_chance() -> None:
    rng, n = np.random.default_rng(0), 4000
    log_posterior, truth = answers(n, 3, 1, digits=9)
    third = np.full(3, 1 / 3)
    assert asr(np.exp(log_posterior), truth, fresh(n)).low < 1 / 3
    found = auroc(log_posterior, truth, fresh(n))
    assert found.low < 0.5 < found.high
    assert bits(log_posterior, truth, third, fresh(n)).low < 0
    constant = np.log(np.tile(third, (n, 1)))
    assert auroc(constant, truth, fresh(n)).value == pytest.approx(0.5)
    assert asr(np.exp(constant), truth, fresh(n)).value == pytest.approx(1 / 3)
    assert bits(constant, truth, third, fresh(n)).value == pytest.approx(0)
    noise = both(rng.normal(size=n))
    assert gain(noise, noise, truth % 2, fresh(n)).value == 0


def test_certainty_has_width() -> None:
    n, c = 200, 4
    truth = np.arange(n) % c
    posterior = np.full((n, c), 1e-9)
    posterior[np.arange(n), truth] = 1 - 3e-9
    limit = 0.05 ** (1 / 50)  # 50 trials a class, each with a record of its own
    for found in (
        asr(posterior, truth, fresh(n)),
        balanced_accuracy(posterior, truth, fresh(n)),
        worst_class(posterior, truth, fresh(n)),
        auroc(np.log(posterior), truth, fresh(n)),
    ):
        assert found.value == 1
        assert (found.low, found.high) == (pytest.approx(limit), 1)
    information = bits(np.log(posterior), truth, np.full(c, 0.25), fresh(n))
    assert information.value == pytest.approx(2, abs=1e-6)
    assert information.low == pytest.approx(information_floor(certain_error(50), 2.0, c))
    perfect = gain(np.log(posterior), np.log(posterior), truth, fresh(n))
    assert perfect.low == pytest.approx(limit - 1)
    wrong = asr(np.roll(posterior, 1, axis=1), truth, fresh(n))
    assert (wrong.value, wrong.low, wrong.high) == (0, 0, pytest.approx(1 - limit))


def test_certainty_counts_disjoint_batches_and_not_trials() -> None:
    truth = np.arange(1000) % 2
    rng = np.random.default_rng(0)
    units = np.array([rng.choice(100, 10, replace=False) for _ in truth]) + 100 * truth[:, None]
    draws = Draws(units, np.repeat([0, 1], 100))
    assert asr(np.eye(2)[truth], truth, draws).low == pytest.approx(0.05 ** (1 / 10))


def test_log_odds_order_what_float64_probabilities_cannot() -> None:
    odds, truth = np.array([40.0, 50.0, 45.0, 60.0]), np.array([0, 1, 0, 1])
    assert auroc(both(odds), truth, fresh(4)).value == 1
    assert roc_auc_score(truth, np.exp(both(odds)[:, 1])) == 0.5


def test_one_class_is_undefined_and_an_absent_one_is_named() -> None:
    log_posterior, truth = answers(40, 3, 0)
    for found in (
        auroc(log_posterior, np.full(40, 2), fresh(40)),
        gain(log_posterior, log_posterior, np.full(40, 2), fresh(40)),
    ):
        assert np.isnan([found.value, found.low, found.high]).all()
        assert found.note == "undefined: every trial has class 2"
    rows = truth != 1
    found = auroc(log_posterior[rows], truth[rows], fresh(int(rows.sum())))
    assert found.note == "no trial of class 1"
    scores = [log_posterior[rows, a] for a in (0, 2)]
    odds = [np.log(np.exp(s) / (1 - np.exp(s))) for s in scores]
    areas = [twin_area(odds[i], truth[rows] == a) for i, a in enumerate((0, 2))]
    assert found.value == pytest.approx(np.mean(areas), abs=0.01)
    balanced = balanced_accuracy(np.exp(log_posterior[rows]), truth[rows], fresh(int(rows.sum())))
    assert balanced.note == "no trial of class 1"


def test_advantage_is_a_scale() -> None:
    log_posterior, truth = answers(100, 2, 1)
    success = asr(np.exp(log_posterior), truth, fresh(100))
    found = advantage(success, np.array([0.2, 0.8]))
    assert found.value == pytest.approx((success.value - 0.8) / 0.2)
    assert found.high == pytest.approx((success.high - 0.8) / 0.2)
    assert np.isnan(advantage(success, np.array([1.0, 0.0])).value)


def test_bits_of_a_known_channel_and_raw_below_zero() -> None:
    """An answer of .9 that is right in 90% of trials: 1 - h(.1); in 50%, below zero."""
    truth = np.zeros(100, dtype=np.int64)
    truth[:50] = 1
    for right, value in ((0.9, 0.531004), (0.5, -0.736966)):
        wrong = np.arange(100) % 10 >= round(10 * right)
        answer = np.where(wrong, 1 - truth, truth)
        log_posterior = np.log(np.where(np.arange(2) == answer[:, None], 0.9, 0.1))
        found = bits(log_posterior, truth, HALF, fresh(100))
        assert found.value == pytest.approx(value, abs=1e-6)
        assert found.low < found.value
        assert np.isnan(found.high)


@pytest.mark.parametrize("name", ["asr", "auroc", "gain", "bits", "tpr", "calibrate"])
def test_nan_is_counted_and_the_argument_named(name: str) -> None:
    log_posterior, truth = answers(100, 2, 0)
    bad = log_posterior.copy()
    bad[3:5, 1] = np.nan
    good, d = log_posterior[:, 1], fresh(100)
    calls = {
        "asr": ("posterior", lambda: asr(np.exp(bad), truth, d)),
        "auroc": ("log_posterior", lambda: auroc(bad, truth, d)),
        "gain": ("baseline_log_posterior", lambda: gain(log_posterior, bad, truth, d)),
        "bits": ("log_posterior", lambda: bits(bad, truth, HALF, d)),
        "tpr": ("scores", lambda: tpr_at_fpr(good, truth, bad[:, 1], truth, d, 0.2)),
        "calibrate": (
            "calibrate_scores",
            lambda: tpr_at_fpr(bad[:, 1], truth, good, truth, d, 0.2),
        ),
    }
    argument, call = calls[name]
    with pytest.raises(LeakageError, match=f"^{argument} holds 2 NaN among"):
        call()


def test_what_is_no_posterior_is_refused() -> None:
    log_posterior, truth = answers(20, 2, 0)
    with pytest.raises(LeakageError, match="posterior has 20 of 20 rows that are no posterior"):
        asr(log_posterior + 3, truth, fresh(20))
    with pytest.raises(LeakageError, match="log_posterior has 20 of 20 rows that are no posterior"):
        auroc(np.exp(log_posterior), truth, fresh(20))
    with pytest.raises(LeakageError, match=r"truth holds the secrets 0..2, allowed are 0..1"):
        auroc(log_posterior, np.arange(20) % 3, fresh(20))
    with pytest.raises(LeakageError, match="posterior has 20 trials, truth 20 and draws 7"):
        asr(np.exp(log_posterior), truth, fresh(7))
    with pytest.raises(LeakageError, match="posterior holds no trial"):
        asr(np.zeros((0, 2)), truth[:0], fresh(0))
    certain = np.log(np.maximum(np.eye(2)[1 - truth], 1e-320))
    certain[certain < -700] = -np.inf
    with pytest.raises(LeakageError, match="-inf at the secret in 20 of 20 trials; floor"):
        bits(certain, truth, HALF, fresh(20))
    with pytest.raises(LeakageError, match="prior is to be 2 probabilities that sum to 1"):
        bits(log_posterior, truth, np.array([0.5, 0.6]), fresh(20))
