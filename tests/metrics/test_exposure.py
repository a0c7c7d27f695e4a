"""The most exposed units: a planted one comes first, and where there is none, none is named."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_batches import Floats, Ints, batches
from scipy.stats import binom

from leakage.errors import LeakageError
from leakage.metrics.exposure import exposed

HALF = np.array([0.5, 0.5])


def answer(guesses: Ints, c: int) -> Floats:
    return np.log(np.where(np.arange(c) == guesses[:, None], 0.9, 0.1 / (c - 1)))


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.6, 0.3, 0.1]])
def test_where_nobody_is_exposed_nobody_is_named_in_95_of_100_games(prior: list[float]) -> None:
    """Secrets are drawn apart from the units, and guessed apart from both."""
    rng, c, named = np.random.default_rng(0), len(prior), []
    for _ in range(400):
        truth, guesses = (rng.choice(c, 600, p=prior) for _ in range(2))
        units = batches(rng, 100, 4, 600)
        first = exposed(answer(guesses, c), truth, np.array(prior), units, most=1)[0]
        named.append(first.low > max(prior))
    assert np.mean(named) <= 0.05


def test_all_limits_hold_at_once_and_not_by_claiming_nothing() -> None:
    """Each unit alone in its trials, told with a chance of its own near 1."""
    rng, m, trials, broken, reached = np.random.default_rng(0), 40, 30, [], []
    chances = rng.uniform(0.6, 1.0, m)
    units = np.repeat(np.arange(m), trials)[:, None]
    for _ in range(300):
        truth = rng.integers(0, 2, m * trials)
        right = rng.random(m * trials) < chances[units[:, 0]]
        found = exposed(answer(np.where(right, truth, 1 - truth), 2), truth, HALF, units, most=m)
        broken.append(any(e.low > chances[e.unit] for e in found))
        reached.append(max(e.low for e in found))
    assert np.mean(broken) <= 0.05
    assert np.mean(reached) > 0.75


def test_a_planted_unit_is_first_with_its_exact_limit() -> None:
    rng = np.random.default_rng(1)
    units, truth = batches(rng, 50, 3, 800), rng.integers(0, 2, 800)
    holds = (units == 17).any(axis=1)
    guesses = np.where(holds, truth, rng.integers(0, 2, 800))
    found = exposed(answer(guesses, 2), truth, HALF, units, most=5)
    assert len(found) == 5
    first, second = found[:2]
    assert (first.unit, first.value, first.trials) == (17, 1.0, holds.sum())
    assert first.low == pytest.approx((0.05 / 50) ** (1 / holds.sum()))
    assert second.low < 0.5 < first.low
    assert binom.sf(second.value * second.trials - 1, second.trials, second.low) == pytest.approx(
        0.05 / 50
    )


def test_an_answer_by_the_prior_exposes_nobody_however_common_the_value() -> None:
    prior = np.array([0.9, 0.1])
    units, truth = np.zeros((50, 1), dtype=np.int64), np.zeros(50, dtype=np.int64)
    by_prior = np.log(np.tile(prior, (50, 1)))
    assert exposed(by_prior, truth, prior, units, most=1)[0].low == 0
    raised = np.log(np.tile([0.89, 0.11], (50, 1)))  # the likeliest is 0, the raised one 1
    assert exposed(raised, 1 - truth, prior, units, most=1)[0].value == 1


def test_units_are_counted_once_a_trial_and_ranked_from_five_trials() -> None:
    units = np.array([[0, 0, 1]] * 5 + [[2, -1, 3]] * 4 + [[1, -1, -1]])
    truth = np.zeros(10, dtype=np.int64)
    wrong_last = np.where(np.arange(10) == 9, 1, 0)
    found = exposed(answer(wrong_last, 2), truth, HALF, units, most=9)
    assert [(e.unit, e.trials, e.value) for e in found] == [(0, 5, 1.0), (1, 6, 5 / 6)]
    assert found[0].low == pytest.approx(0.025 ** (1 / 5))
    assert exposed(answer(wrong_last, 2)[5:9], truth[5:9], HALF, units[5:9], most=1) == []


def test_what_does_not_fit_is_refused() -> None:
    truth, units = np.zeros(6, dtype=np.int64), np.zeros((6, 1), dtype=np.int64)
    with pytest.raises(LeakageError, match="most is to be at least 1 unit, got 0"):
        exposed(answer(truth, 2), truth, HALF, units, most=0)
    with pytest.raises(LeakageError, match="prior is to be 2 probabilities that sum to 1"):
        exposed(answer(truth, 2), truth, np.array([0.5, 0.6]), units, most=1)
    with pytest.raises(LeakageError, match="log_posterior has 6 trials, truth 6 and draws 5"):
        exposed(answer(truth, 2), truth, HALF, units[1:], most=1)
