"""The gain over a baseline: what is possible, the degenerate cases, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_batches import GAMES, batches, both, fresh
from scipy.stats import norm

from leakage.metrics.intervals import Draws, certain_error
from leakage.metrics.ranking import auroc, gain


@pytest.mark.parametrize("shift", [0.5, 2.0, 3.5])
def test_over_a_constant_the_gain_is_the_auroc_less_one_half(shift: float) -> None:
    truth = np.arange(60) % 2
    attack = both(np.random.default_rng(0).normal(size=60) + shift * truth)
    constant = np.log(np.tile([0.7, 0.3], (60, 1)))
    area, found = auroc(attack, truth, fresh(60)), gain(attack, constant, truth, fresh(60))
    expected = [area.value - 0.5, area.low - 0.5, area.high - 0.5]
    assert [found.value, found.low, found.high] == pytest.approx(expected, abs=1e-12)
    mirror = gain(constant, attack, truth, fresh(60))
    assert [-mirror.value, -mirror.high, -mirror.low] == pytest.approx(expected, abs=1e-12)


def test_the_gain_of_certainty_and_over_certainty() -> None:
    truth = np.arange(40) % 2
    certain, noisy = both(20.0 * truth - 10), both(np.random.default_rng(1).normal(size=40) + truth)
    slack = certain_error(20)
    over_constant = gain(certain, np.log(np.full((40, 2), 0.5)), truth, fresh(40))
    assert (over_constant.low, over_constant.high) == (pytest.approx(0.5 - slack), 0.5)
    other = auroc(noisy, truth, fresh(40))
    found = gain(certain, noisy, truth, fresh(40))
    assert found.high == pytest.approx(1 - other.low)
    assert found.value - found.low == pytest.approx(np.hypot(slack, other.high - other.value))
    lost = gain(noisy, certain, truth, fresh(40))
    assert (lost.low, lost.high) == pytest.approx((-found.high, -found.low))
    for answer in (certain, noisy, np.log(np.full((40, 2), 0.5))):
        alike = gain(answer, answer, truth, fresh(40))
        assert (alike.value, alike.low, alike.high) == (0, -slack, slack)


@pytest.mark.parametrize(("size", "k"), [(12, 2), (100, 4)])
@pytest.mark.parametrize(("area", "first"), [(0.75, 0.65), (0.99, 0.9)])
def test_gain_covers_with_few_units_and_near_certainty_within_what_is_possible(
    size: int, k: int, area: float, first: float
) -> None:
    """The attack's AUROC is 1 or less, so the gain over the constant .5 is .5 or less."""
    d, d_first = norm.ppf(area) * np.sqrt(2), norm.ppf(first) * np.sqrt(2)
    means = np.array([d_first, np.sqrt(d**2 - d_first**2)]) / np.sqrt(k)
    rng, paired, plain = np.random.default_rng(5), [], []
    constant = np.log(np.full((400, 2), 0.5))
    for _ in range(GAMES):
        x = rng.normal(size=(2 * size, 2)) + np.repeat([-means / 2, means / 2], size, axis=0)
        truth = rng.integers(0, 2, 400)
        units = batches(rng, size, k, 400) + size * truth[:, None]
        draws, sums = Draws(units, np.repeat([0, 1], size)), x[units].sum(axis=1)
        odds = [sums @ means, sums[:, 0] * means[0]]
        attack, alone = (both(o) for o in odds)
        paired.append(gain(attack, alone, truth, draws))
        plain.append(gain(attack, constant, truth, draws))
    assert np.mean([e.low <= area - first <= e.high for e in paired]) >= 0.90
    assert np.mean([e.low <= area - 0.5 <= e.high for e in plain]) >= 0.90
    assert max(e.high for e in plain) <= 0.5
    assert max(e.high for e in paired) <= 1
