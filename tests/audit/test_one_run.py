"""The bound from right guesses about fair coins: its formula, edges and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_scores import bound, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from leakage.audit.estimators.one_run import OneRun, chance_of_right, one_run_epsilon
from leakage.audit.estimators.scores import Scores
from leakage.errors import LeakageError


def p_value(m: int, r: int, v: int, delta: float, epsilon: float) -> float:
    """The formula of the notes, word by word."""
    guess = stats.binom(r, expit(epsilon))
    terms = [sum(guess.pmf(k) for k in range(v - i, v)) / i for i in range(1, v + 1)]
    return min(1.0, guess.sf(v - 1) + 2 * m * delta * max(terms))


@given(
    m=st.integers(2, 200),
    r=st.integers(2, 25),
    share=st.floats(0, 1),
    delta=st.sampled_from([0.0, 1e-6, 1e-3, 0.1]),
    epsilon=st.floats(0, 8),
)
def test_the_chance_of_right_guesses_is_the_formula(
    m: int, r: int, share: float, delta: float, epsilon: float
) -> None:
    v = max(1, round(share * r))
    found = chance_of_right(m, r, v, delta, epsilon)
    assert found == pytest.approx(p_value(m, r, v, delta, epsilon), rel=1e-9, abs=1e-12)


@given(
    r=st.integers(2, 300),
    share=st.floats(0.4, 1),
    delta=st.sampled_from([0.0, 1e-6, 1e-4, 1e-3]),
    gamma=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_one_run_refutes_every_epsilon_below_its_bound(
    r: int, share: float, delta: float, gamma: float
) -> None:
    v = max(1, round(share * r))
    low = one_run_epsilon(1000, r, v, delta, gamma)
    for epsilon in np.linspace(0, 0.999, 7) * low if low else ():
        assert chance_of_right(1000, r, v, delta, epsilon) < gamma
    assert chance_of_right(1000, r, v, delta, low + 1e-6) >= gamma


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "low"),
    [
        (1000, 100, 75, 1e-4, 0.673),
        (100_000, 1510, 1439, 1e-5, 2.676),
        (100, 100, 100, 0.0, 3.493),
        (1000, 1000, 1000, 0.0, 5.809),
        (5000, 5000, 2500, 0.0, 0.0),
        (100, 100, 0, 1e-5, 0.0),
    ],
)
def test_published_one_run_bounds(m: int, r: int, v: int, delta: float, low: float) -> None:
    assert one_run_epsilon(m, r, v, delta, 0.05) == pytest.approx(low, abs=5e-4)


def test_one_run_guesses_the_highest_one_and_the_lowest_zero() -> None:
    scores = Scores(np.array([0.0, 1.0, 2.0, 9.0]), np.array([-1.0, 5.0, 6.0, 7.0]))
    found = bound(OneRun(6), scores)  # -1, 0, 1 guessed zero; 6, 7, 9 guessed one
    assert found.note == "4 of 6 guesses right, of 8 trials"
    assert found.value == pytest.approx(math.log(2))
    assert math.isnan(found.high)


def test_tied_scores_are_guessed_in_random_order() -> None:
    """Were ties broken by side, equal scores would be told apart for certain."""
    scores = Scores(np.zeros(500), np.zeros(500))
    right = [int(bound(OneRun(500), scores, seed=s).note.split()[0]) for s in range(40)]
    assert abs(np.mean(right) - 250) < 4 * math.sqrt(500 / 4 / 40)
    assert len(set(right)) > 10


def test_more_guesses_than_trials_are_refused() -> None:
    with pytest.raises(LeakageError) as caught:
        bound(OneRun(100), normal(1.0, 20, 0))
    assert str(caught.value) == "OneRun.guesses: at most the 40 trials can be guessed, got 100"
    with pytest.raises(LeakageError) as caught:
        OneRun(3)
    assert str(caught.value) == "OneRun.guesses: an even number of at least 2 is needed, got 3"
