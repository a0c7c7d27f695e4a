"""A scale from numbers to places in a drawing, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A range of numbers laid on a range of places.

    Args:
        low: the number at `start`.
        high: the number at `end`, above `low`.
        start: a place, in units of the drawing.
        end: another one; below `start` on a vertical axis.
        log: whether equal ratios, not differences, are equally far apart; then `low` is above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a number; what is outside stands at the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round numbers within the range, about as many as are wanted.

        >>> Axis(0.48, 1.0, 0, 100).ticks()
        [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        """
        step = _step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(count * step, 12) for count in range(first, last + 1)]

    def apart(self, values: Sequence[float], least: float) -> list[float]:
        """Of some numbers in order those that stand at least so far apart.

        >>> Axis(1, 64, 0, 60, log=True).apart([1, 2, 4, 16, 64], least=15)
        [1, 4, 16, 64]
        """
        kept: list[float] = []
        for value in values:
            if not kept or abs(self(value) - self(kept[-1])) >= least:
                kept.append(value)
        return kept


def _step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))


def range_of(values: Sequence[float], *within: float, margin: float = 0.04) -> tuple[float, float]:
    """The least range of some numbers and of further ones that it has to show, with a margin.

    Args:
        values: at least one of them or of `within`.
        within: further numbers.
        margin: at both ends, as a share of the range.
    """
    low, high = min([*values, *within]), max([*values, *within])
    room = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - room, high + room
