"""The scores of an audit's trials, split by the coin that chose the neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from leakage.errors import LeakageError

Floats = NDArray[np.float64]

# Beyond any score and any threshold, yet finite.
FAR = 1e300


@dataclass(frozen=True, eq=False)
class Scores:
    """One score a trial; high scores speak for the second neighbour, "one".

    Args:
        zero: (n0,) of the trials whose release was made from the first neighbour.
        one: (n1,) of those made from the second.

    Raises:
        LeakageError: a score is NaN or infinite, or a side is no row of numbers.
    """

    zero: Floats
    one: Floats

    def __post_init__(self) -> None:
        for name in ("zero", "one"):
            side = np.asarray(getattr(self, name), dtype=np.float64)
            if side.ndim != 1:
                raise LeakageError(
                    f"audit: the scores under {name!r} have shape {side.shape}; one a trial, (n,), "
                    "is needed"
                )
            wrong = np.flatnonzero(~np.isfinite(side))
            if wrong.size:
                raise LeakageError(
                    f"audit: {wrong.size} of {side.size} scores under {name!r} are NaN or infinite "
                    f"(the first is that of its trial {wrong[0]}); every score has to be finite"
                )
            object.__setattr__(self, name, side)


def normal_scores(mu: float, n0: int, n1: int) -> Scores:
    """Scores as theory expects them: quantile-spaced, of N(0, 1) under zero and N(mu, 1) under one.

    The quantiles are (i + 1/2) / n for i = 0..n-1, so that counts beyond a threshold are the
    expected ones up to rounding.
    """
    zero, one = (special.ndtri((np.arange(n) + 0.5) / n) for n in (n0, n1))
    return Scores(zero, one + mu)


def separated_scores(n0: int, n1: int) -> Scores:
    """Scores on which every guess is right, whatever the threshold."""
    return Scores(np.full(n0, -FAR), np.full(n1, FAR))
