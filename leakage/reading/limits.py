"""The limits of a gain at other levels than 95%, from the limits that attack.csv has.

A statement of a whole report needs them: the p-value is the level at which a limit reaches 0, and
limits that hold for all of m gains at once are those at .05 / m each (Bonferroni). The interval of
`leakage.metrics.ranking.gain` is built again on its own scales: the limits of the two AUROCs on
that of the logit, with Student's quantile; and their correlation, which its width at 95% gives
away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import special

LEVEL = 0.95
_LEAST = 1e-30  # below which no p-value is told
_SAME = 1e-6  # relative difference of two numbers that were one before they were written down


@dataclass(frozen=True)
class Area:
    """An AUROC with its 95% limits, of which one may be an edge of [0, 1]."""

    value: float
    low: float
    high: float

    def at(self, alpha: float, freedom: int) -> Area:
        """The same with limits at 1 - alpha, as `estimate_share` builds them."""
        if self.value in (0.0, 1.0):
            low = 1 - _error(1 - self.low, alpha) if self.value == 1 else 0.0
            return Area(self.value, low, 1.0 if self.value == 1 else _error(self.high, alpha))
        scale, before = self.value * (1 - self.value), quantile(1 - LEVEL, freedom)
        below = special.logit(self.value) - special.logit(self.low)
        above = special.logit(self.high) - special.logit(self.value)
        errors = [float(side) / before for side in (below, above) if math.isfinite(side)]
        if not errors:
            return Area(self.value, 0.0, 1.0)
        if len(errors) == 2 and abs(errors[0] - errors[1]) > _SAME * max(errors):
            # No trial differs from the others of its class: a symmetrical bound of their number.
            reach = _error(max(self.value - self.low, self.high - self.value), alpha)
            return Area(self.value, max(0.0, self.value - reach), min(1.0, self.value + reach))
        reach = quantile(alpha, freedom) * errors[0]
        low, high = special.expit(special.logit(self.value) + np.array([-reach, reach])).tolist()
        straight = reach * scale
        return Area(
            self.value,
            0.0 if self.value - straight <= 0 else low,
            1.0 if self.value + straight >= 1 else high,
        )


@dataclass(frozen=True)
class Gain:
    """The AUROC of an adversary less that of the best baseline, as attack.csv has them.

    Args:
        own: of the adversary.
        rival: of the baseline.
        low: lower 95% limit of the difference.
        high: upper 95% limit.
        freedom: degrees of freedom of Student's quantile, at least 1.
    """

    own: Area
    rival: Area
    low: float
    high: float
    freedom: int

    @property
    def value(self) -> float:
        """The difference."""
        return self.own.value - self.rival.value

    def at(self, alpha: float) -> tuple[float, float]:
        """The limits at 1 - alpha, with alpha in (0, 1).

        Where the interval is not of its usual form, each side grows
        as the one of its possible parts that grows most.
        """
        found = self._joined
        if found is None:
            usual = quantile(alpha, self.freedom) / quantile(1 - LEVEL, self.freedom)
            grown = max(usual, math.log(alpha) / math.log(1 - LEVEL))
            low = self.value - (self.value - self.low) * grown
            high = self.value + (self.high - self.value) * grown
            return max(-1.0, low), min(1.0, high)
        own, rival, r = found
        own, rival = own.at(alpha, self.freedom), rival.at(alpha, self.freedom)
        below = _apart(own.value - own.low, rival.high - rival.value, r)
        above = _apart(own.high - own.value, rival.value - rival.low, r)
        return self.value - below, self.value + above

    @property
    def p(self) -> float:
        """Of the statement gain > 0: the level at which the lower limit reaches 0, two-sided.

        1 where the gain is not above 0, however surely it is below.
        """
        if self.value <= 0:
            return 1.0
        least, most = math.log(_LEAST), math.log(1 - 1e-9)
        if self.at(math.exp(least))[0] > 0:
            return _LEAST
        for _ in range(30):
            middle = (least + most) / 2
            if self.at(math.exp(middle))[0] > 0:
                most = middle
            else:
                least = middle
        return math.exp(most)

    @cached_property
    def _joined(self) -> tuple[Area, Area, float] | None:
        """The two areas as they stand in the interval, and their correlation; None if unusual.

        An answer that is the same for all trials has no width there, whatever its own interval.
        """
        if self.own == self.rival:  # no trial tells the two apart
            return None
        flat = [replace(area, low=area.value, high=area.value) for area in (self.own, self.rival)]
        for own, rival in ((self.own, flat[1]), (flat[0], self.rival), (self.own, self.rival)):
            found = list(self._correlations(own, rival))
            if not found:
                if _agree(self.value - self.low, _apart(*_sides(own, rival)[0], 0)) and _agree(
                    self.high - self.value, _apart(*_sides(own, rival)[1], 0)
                ):
                    return own, rival, 0.0
            elif _agree(found[0], found[-1]) and abs(found[0]) <= 1 + _SAME:
                return own, rival, max(-1.0, min(1.0, found[0]))
        return None

    def _correlations(self, own: Area, rival: Area) -> Iterator[float]:
        """What each side of the interval says of it, where both areas have a width there."""
        widths = (self.value - self.low, self.high - self.value)
        for (x, y), width in zip(_sides(own, rival), widths, strict=True):
            if x * y > 0:
                yield (x * x + y * y - width * width) / (2 * x * y)


def quantile(alpha: float, freedom: int) -> float:
    """Student's quantile that both sides together exceed with alpha.

    >>> round(quantile(0.05, 7), 3)
    2.365
    """
    return -float(special.stdtrit(freedom, alpha / 2))


def _sides(own: Area, rival: Area) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far each of the two reaches towards a lower difference, and towards a higher one."""
    below = own.value - own.low, rival.high - rival.value
    return below, (own.high - own.value, rival.value - rival.low)


def _apart(x: float, y: float, r: float) -> float:
    return math.sqrt(max(0.0, x * x + y * y - 2 * r * x * y))


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * max(1.0, abs(one))


def _error(share: float, alpha: float) -> float:
    """What m batches without an error leave open at 1 - alpha: 1 - alpha ** (1/m).

    Args:
        share: the same at 95%.
        alpha: in (0, 1).
    """
    if share >= 1:
        return 1.0  # nothing is known at any level
    return -math.expm1(math.log1p(-share) * math.log(alpha) / math.log(1 - LEVEL))
