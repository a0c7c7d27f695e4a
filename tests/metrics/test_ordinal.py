"""Quantities: the median and the ranked score against plain twins, integrals and ceilings."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_batches import Floats, Ints, fresh
from hypothesis import given, settings
from hypothesis import strategies as st

from leakage.errors import LeakageError
from leakage.metrics.attack import asr
from leakage.metrics.intervals import Draws, certain_error
from leakage.metrics.ordinal import composition_ceiling, median_error, ranked_probability_score

steady = settings(deadline=None, derandomize=True, max_examples=40)
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
FIFTH = np.full(5, 0.2)


def answers(seed: int, n: int = 30, c: int = 4) -> tuple[Floats, Ints, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    levels = tuple(np.cumsum(rng.random(c) + 0.1).tolist())
    truth = np.concatenate([np.arange(c).repeat(2), rng.integers(0, c, n - 2 * c)])
    return np.log(rng.dirichlet(np.ones(c), n)), truth, levels


@steady
@given(seed=st.integers(0, 999))
def test_the_median_equals_the_plain_twin(seed: int) -> None:
    log_posterior, truth, levels = answers(seed)
    errors = []
    for row, a in zip(np.exp(log_posterior), truth, strict=True):
        total, median = 0.0, levels[-1]
        for chance, level in zip(row, levels, strict=True):
            total += chance
            if total >= 0.5:
                median = level
                break
        errors.append(abs(median - levels[a]))
    found = median_error(log_posterior, truth, levels, fresh(len(truth)))
    assert found.value == pytest.approx(np.mean(errors))
    assert 0 <= found.low < found.value < found.high <= levels[-1] - levels[0]


@steady
@given(seed=st.integers(0, 999))
def test_the_ranked_score_is_mean_distance_less_half_mean_spread(seed: int) -> None:
    """The integral equals E|X - a| - E|X - X'| / 2 (Gneiting & Raftery 2007)."""
    log_posterior, truth, levels = answers(seed)
    x = np.array(levels)
    scores = []
    for row, a in zip(np.exp(log_posterior), truth, strict=True):
        spread = row @ np.abs(x[:, None] - x) @ row
        scores.append(row @ np.abs(x - x[a]) - spread / 2)
    found = ranked_probability_score(log_posterior, truth, levels, fresh(len(truth)))
    assert found.value == pytest.approx(np.mean(scores))


def test_half_up_to_rounding_is_half() -> None:
    for below, median in ((1e-12, 0), (1e-6, 1)):
        halves = np.log(np.tile([0.5 - below, 0.5 + below], (4, 1)))
        found = median_error(halves, np.zeros(4, dtype=np.int64), (0.0, 1.0), fresh(4))
        assert found.value == median


def test_certainty_is_zero_with_the_width_of_what_was_not_seen() -> None:
    truth = np.arange(50) % 5
    certain = np.log(np.where(np.arange(5) == truth[:, None], 1.0, 1e-300))
    for metric in (median_error, ranked_probability_score):
        found = metric(certain, truth, QUARTERS, fresh(50))
        assert (found.value, found.low, found.note) == (pytest.approx(0, abs=1e-12), 0, "one-sided")
        assert found.high == pytest.approx(certain_error(10))  # 10 trials a level


def test_chance_is_the_error_of_the_prior_and_the_ranked_score_is_proper() -> None:
    """The prior's median .5 errs by .3 on average; its score is (.04+.16+.24)... = .2."""
    rng, n = np.random.default_rng(0), 20_000
    truth = rng.integers(0, 5, n)
    prior = np.log(np.tile(FIFTH, (n, 1)))
    error = median_error(prior, truth, QUARTERS, fresh(n))
    assert error.low < 0.3 < error.high
    score = ranked_probability_score(prior, truth, QUARTERS, fresh(n))
    assert score.low < 0.2 < score.high  # sum over thresholds of F (1 - F) / 4
    for tilt in (-0.3, 0.3):
        wrong = FIFTH * np.exp(tilt * np.arange(5))
        log_wrong = np.log(np.tile(wrong / wrong.sum(), (n, 1)))
        assert ranked_probability_score(log_wrong, truth, QUARTERS, fresh(n)).value > score.value


def test_the_intervals_cover() -> None:
    """Binomial counts of 4 records, answered by Bayes: truth from one long game."""
    rng, chances = np.random.default_rng(1), np.array(QUARTERS) * 0.8 + 0.1

    def play(n: int) -> tuple[Floats, Ints, tuple[float, ...], Draws]:
        truth = rng.integers(0, 5, n)
        h = rng.binomial(4, chances[truth])[:, None]
        likely = chances**h * (1 - chances) ** (4 - h)
        return np.log(likely / likely.sum(axis=1, keepdims=True)), truth, QUARTERS, fresh(n)

    for metric in (median_error, ranked_probability_score):
        expected = metric(*play(400_000)).value
        found = [metric(*play(100)) for _ in range(300)]
        assert 0.91 <= np.mean([e.low <= expected <= e.high for e in found]) <= 0.99


@pytest.mark.parametrize(
    ("k", "ceiling"), [(1, 0.400), (4, 0.644), (8, 0.774), (16, 0.878), (64, 0.986)]
)
def test_the_ceiling_of_the_notes(k: int, ceiling: float) -> None:
    assert composition_ceiling(QUARTERS, k, FIFTH) == pytest.approx(ceiling, abs=5e-4)


def test_whoever_counts_the_holders_reaches_the_ceiling() -> None:
    rng, k, prior = np.random.default_rng(0), 6, np.array([0.5, 0.3, 0.2])
    levels = (0.2, 0.5, 0.6)
    truth = rng.choice(3, 100_000, p=prior)
    h = rng.binomial(k, np.array(levels)[truth])[:, None]
    joint = prior * np.array(levels) ** h * (1 - np.array(levels)) ** (k - h)
    found = asr(joint / joint.sum(axis=1, keepdims=True), truth, fresh(len(truth)))
    assert found.low < composition_ceiling(levels, k, prior) < found.high
    assert composition_ceiling(levels, 1, np.array([1.0, 0, 0])) == pytest.approx(1)


def test_levels_that_do_not_fit_are_refused() -> None:
    log_posterior, truth, _ = answers(0)
    for levels in ((0.0, 1.0), (0.0, 2.0, 1.0, 3.0), (0.0, 1.0, 1.0, 2.0), (0.0, 1.0, 2.0, np.inf)):
        with pytest.raises(LeakageError, match="levels are to be 4 finite numbers that ascend"):
            median_error(log_posterior, truth, levels, fresh(30))
    with pytest.raises(LeakageError, match=r"k of at least 1 and levels in \[0, 1\], got 0"):
        composition_ceiling(QUARTERS, 0, FIFTH)
    with pytest.raises(LeakageError, match=r"levels in \[0, 1\], got 4 and \(0.5, 1.5\)"):
        composition_ceiling((0.5, 1.5), 4, np.array([0.5, 0.5]))
