"""Adversaries of a quantity: Bayes' rule, a plain twin of Frank & Hall, and crossing thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression as Plain

from leakage.adversaries import (
    Adversary,
    BoostedTrees,
    Classifier,
    FirstLayer,
    LogisticRegression,
    NeuralNetwork,
    Ordinal,
    RandomForest,
    Regression,
    Scores,
    Surface,
)
from leakage.adversaries.posterior import calibrate
from leakage.errors import LeakageError
from leakage.gradients.layout import Layout
from leakage.randomness import derived_seed

M, LEVELS = 6, (0.0, 0.25, 0.5, 0.75, 1.0)
C = len(LEVELS)
SURFACE = Surface(Layout(("w",), ((M,),)), C, (), M, levels=LEVELS)
LINEAR = LogisticRegression()
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def shifted(n: int, seed: int, step: float = 1.5, c: int = C) -> tuple[Floats, Ints]:
    """Value j moves the mean of the first of M standard Gaussian entries by j steps."""
    rng = np.random.default_rng(seed)
    values = rng.permutation(np.arange(n) % c)
    rows = rng.standard_normal((n, M))
    rows[:, 0] += step * values
    return rows.astype(np.float32), values


@dataclass(frozen=True)
class _Crossing(Adversary):
    """Says of threshold after threshold that more lies above it, which cannot be."""

    def fit(self, releases: Floats, values: Ints, surface: Surface, seed: int) -> Scores:
        assert surface.classes == 2
        share = 0.1 + 0.8 * (1 - values.mean())  # the fewer lie above, the more it claims
        return lambda seen: np.log([[1 - share, share]] * len(seen))


BASES = [
    LINEAR,
    RandomForest(trees=60),
    BoostedTrees(iterations=20),
    NeuralNetwork(hidden=32, epochs=60),
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_levels_that_move_one_entry_are_told_as_bayes_would(base: Classifier) -> None:
    """Thresholds lie midway: ASR = 1 - (c - 1) / c * 2 * Phi(-step / 2)."""
    rows, values = shifted(4000, seed=0)
    (known, truth), (seen, asked) = shifted(3000, seed=1), shifted(8000, seed=2)
    bayes = 1 - (C - 1) / C * 2 * norm.cdf(-1.5 / 2)
    for adversary in (base, Ordinal(base), Regression(base)):
        scores = adversary.fit(rows, values, SURFACE, seed=0)
        log_q = calibrate([scores(known)], truth)([scores(seen)])
        rate = (log_q.argmax(1) == asked).mean()
        assert bayes - 0.03 < rate < bayes + 0.02, adversary.name


@pytest.mark.parametrize("adversary", [Ordinal(LINEAR), Regression(LINEAR)], ids=lambda a: a.name)
def test_levels_that_move_nothing_are_one_in_c(adversary: Adversary) -> None:
    rows, values = shifted(2000, seed=0, step=0.0)
    seen, asked = shifted(8000, seed=1, step=0.0)
    found = adversary.fit(rows, values, SURFACE, seed=0)(seen)
    assert abs((found.argmax(1) == asked).mean() - 1 / C) < 0.02


@pytest.mark.parametrize("adversary", [Ordinal(LINEAR), Regression(LINEAR)], ids=lambda a: a.name)
def test_levels_far_apart_leave_no_doubt(adversary: Adversary) -> None:
    rows, values = shifted(2000, seed=0, step=30.0)
    seen, asked = shifted(2000, seed=1, step=30.0)
    found = adversary.fit(rows, values, SURFACE, seed=0)(seen)
    assert (found.argmax(1) == asked).mean() > 0.99


def test_frank_and_hall_by_hand() -> None:
    rows, values = shifted(400, seed=0)
    seen, _ = shifted(50, seed=1)
    q = np.exp(Ordinal(LINEAR).fit(rows, values, SURFACE, seed=0)(seen))
    floor = 1 / (len(rows) + 1)
    scaled, asked = (
        (part - rows.mean(0, dtype=np.float64)) / rows.std(0, dtype=np.float64)
        for part in (rows, seen)
    )
    models = [Plain(max_iter=200).fit(scaled, values > j) for j in range(C - 1)]
    for i, row in enumerate(asked):
        above, least = [1.0], 1.0
        for model in models:
            likely = (1 - floor) * model.predict_proba(row[None])[0, 1] + floor / 2
            least = min(least, likely)
            above.append(least)
        above.append(0.0)
        by_hand = [(1 - floor) * (above[j] - above[j + 1]) + floor / C for j in range(C)]
        np.testing.assert_allclose(q[i], by_hand, rtol=1e-3, atol=1e-5)


def test_thresholds_that_cross_still_give_a_posterior() -> None:
    rows, values = shifted(500, seed=0)
    q = np.exp(Ordinal(_Crossing()).fit(rows, values, SURFACE, seed=0)(rows[:3]))
    floor = 1 / 501
    claimed = 0.1 + 0.8 * 0.2  # of the first threshold, above which 4 of 5 lie; others claim more
    law = np.array([1 - claimed, 0, 0, 0, claimed])
    np.testing.assert_allclose(q, [(1 - floor) * law + floor / C] * 3)


@pytest.mark.parametrize("base", BASES[:2], ids=lambda base: base.name)
def test_with_two_values_it_is_the_base(base: Classifier) -> None:
    rows, values = shifted(400, seed=0, c=2)
    seen, _ = shifted(300, seed=1, c=2)
    two = Surface(SURFACE.layout, 2, (), M, levels=(0.0, 1.0))
    ordinal = np.exp(Ordinal(base).fit(rows, values, two, seed=0)(seen)[:, 1])
    plain = base.fit(rows, values, two, derived_seed(0, "threshold", 0))(seen)
    floor = 1 / 401
    expected = (1 - floor) * softmax(plain, axis=1)[:, 1] + floor / 2
    np.testing.assert_allclose(ordinal, expected)


def test_the_spread_of_a_regression_is_fixed_by_calibration() -> None:
    """So its scores need no residual variance: any gives the same posterior."""
    rows, values = shifted(1000, seed=0)
    scores = Regression(LINEAR).fit(rows, values, SURFACE, seed=0)(rows)
    one, other = (calibrate([by * scores], values)([by * scores]) for by in (1.0, 7.0))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_unit_of_a_quantity_changes_nothing() -> None:
    rows, values = shifted(600, seed=0)
    small = replace(SURFACE, levels=tuple(level / 100 for level in LEVELS))
    regression = Regression(NeuralNetwork(hidden=8, epochs=60))
    one, other = (regression.fit(rows, values, s, seed=0)(rows) for s in (SURFACE, small))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


# What is refused.


class _NoRegressor(LogisticRegression):
    """A classifier of anyone's own that is nothing else."""

    regressor = Classifier.regressor


@pytest.mark.parametrize(
    ("adversary", "levels", "sentence"),
    [
        *(
            (
                adversary,
                (),
                f"{adversary.name} guesses a quantity, which the values of this secret are not;"
                " use its base, or the secret Distribution",
            )
            for adversary in (Ordinal(LINEAR), Regression(LINEAR))
        ),
        (
            Ordinal(Regression(LINEAR)),
            LEVELS,
            "RegressionLogisticRegression guesses a quantity, which the values of this secret are"
            " not; use its base, or the secret Distribution",
        ),
        (
            Regression(_NoRegressor()),
            LEVELS,
            "_NoRegressor has no regressor, so Regression cannot use it",
        ),
        (
            Ordinal(FirstLayer()),
            LEVELS,
            "FirstLayer reads a secret that is one-hot columns of x, which this one is not; take"
            " it off the list",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_before_it_is(
    adversary: Adversary, levels: tuple[float, ...], sentence: str
) -> None:
    surface = Surface(SURFACE.layout, C, tuple(range(C)), M, levels=levels)
    with pytest.raises(LeakageError) as error:
        adversary.check(surface)
    assert str(error.value) == f"attack.adversaries: {sentence}"
