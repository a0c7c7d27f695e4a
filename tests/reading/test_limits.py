"""Limits of a gain at other levels, built again from those at 95%."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_runs import POOL, K, drawn
from scipy.special import expit, logit

from leakage.metrics import intervals
from leakage.metrics.intervals import Draws, Variance
from leakage.metrics.ranking import auroc, gain
from leakage.reading.limits import Area, Gain


def told(answer: np.ndarray, rival: np.ndarray, truth: np.ndarray, draws: Draws) -> Gain:
    """What attack.csv has of a gain."""
    areas = [auroc(given, truth, draws) for given in (answer, rival)]
    own, other = (Area(area.value, area.low, area.high) for area in areas)
    found, freedom = gain(answer, rival, truth, draws), min(POOL, *np.bincount(truth)) - 1
    return Gain(own, other, found.low, found.high, freedom)


def at_level(patch: pytest.MonkeyPatch, alpha: float) -> None:
    """Has the metrics build their intervals at another level."""
    patch.setattr(intervals, "LEVEL", 1 - alpha)
    reach = Variance.reach
    patch.setattr(Variance, "reach", lambda self: reach(self, 1 - alpha / 2))


@pytest.mark.parametrize("strength", [-3.0, -1.2, 0.0, 0.5, 1.2, 3.0])
@pytest.mark.parametrize("rival", ["constant", "labels"])
@pytest.mark.parametrize("alpha", [0.2, 0.005, 1e-5])
def test_limits_are_those_that_the_metrics_build_at_the_level(
    strength: float, rival: str, alpha: float
) -> None:
    (answer, labels), truth, draws = drawn(np.random.default_rng(3), [strength, 0.4])
    other = np.log(np.full((len(truth), 2), 0.5)) if rival == "constant" else labels
    known = told(answer, other, truth, draws)
    with pytest.MonkeyPatch.context() as patch:
        at_level(patch, alpha)
        direct = gain(answer, other, truth, draws)
    assert known.at(alpha) == pytest.approx((direct.low, direct.high), abs=1e-6)


def test_the_limits_of_certainty_are_those_of_as_many_batches() -> None:
    _, truth, draws = drawn(np.random.default_rng(3), [1.0])
    certain = np.log(np.where(truth[:, None] == np.arange(2), 0.999, 0.001))
    constant = np.log(np.full((len(truth), 2), 0.5))
    known = told(certain, constant, truth, draws)
    batches = POOL // K
    assert known.at(0.001) == pytest.approx((0.001 ** (1 / batches) - 0.5, 0.5))
    assert known.p == pytest.approx(0.5**batches, rel=1e-6)


def test_the_p_value_is_the_level_at_which_the_lower_limit_is_zero() -> None:
    (answer, labels), truth, draws = drawn(np.random.default_rng(4), [1.5, 0.3])
    known = told(answer, labels, truth, draws)
    assert 1e-9 < known.p < 0.05
    assert known.at(known.p)[0] == pytest.approx(0, abs=1e-6)
    assert told(labels, answer, truth, draws).p == 1  # surely below 0 is no sign of a leak


def test_adversaries_that_are_one_with_the_baseline_gain_nothing_at_any_level() -> None:
    (answer,), truth, draws = drawn(np.random.default_rng(5), [1.0])
    known = told(answer, answer, truth, draws)
    low, high = known.at(0.001)
    assert known.p == 1
    assert low <= -(1 - 0.001 ** (K / POOL)) < 0 < 1 - 0.001 ** (K / POOL) <= high


def test_few_units_widen_the_limits_as_students_quantile_does() -> None:
    low, high = expit(logit(0.7) + np.array([-0.4, 0.4])).tolist()
    area, constant = Area(0.7, low, high), Area(0.5, 0.5, 0.5)
    for freedom, times in ((3, 12.924 / 3.182), (300, 3.323 / 1.968)):  # of Student's tables
        limit = Gain(area, constant, low - 0.5, high - 0.5, freedom).at(0.001)[0]
        assert limit == pytest.approx(expit(logit(0.7) - 0.4 * times) - 0.5, abs=2e-4)
