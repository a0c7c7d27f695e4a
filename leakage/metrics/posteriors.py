"""What every metric refuses: posteriors, secrets and draws that do not fit."""

from __future__ import annotations

import numpy as np
from scipy import special

from leakage.errors import LeakageError
from leakage.metrics.intervals import Draws, Floats, Ints


def refuse_nan(name: str, values: Floats) -> None:
    """Raises an error that names the argument and counts its NaN."""
    count = int(np.isnan(values).sum())
    if count:
        raise LeakageError(f"{name} holds {count} NaN among {values.size} values; allowed is none")


def check_posterior(name: str, posterior: Floats, truth: Ints, draws: Draws) -> None:
    """Refuses what is not a posterior (n, c), n secrets in 0..c-1 and the draws of n trials.

    Args:
        name: the argument's name, for the error.
        posterior: probabilities (n, c); each row sums to 1, up to what float32 leaves.
        truth: (n,).
        draws: of n trials.
    """
    if posterior.ndim != 2 or posterior.shape[1] < 2:
        shape = posterior.shape
        raise LeakageError(f"{name} has the shape {shape}, allowed is (n, c) with c at least 2")
    refuse_nan(name, posterior)
    check_trials(name, len(posterior), truth, draws, c=posterior.shape[1])
    off = int((np.abs(posterior.sum(axis=1) - 1) > 1e-3).sum() + (posterior < 0).any(axis=1).sum())
    if off:
        raise LeakageError(
            f"{name} has {off} of {len(posterior)} rows that are no posterior: "
            "each is to be nonnegative and to sum to 1"
        )


def check_log_posterior(name: str, log_posterior: Floats, truth: Ints, draws: Draws) -> None:
    """The same for natural logarithms of a posterior."""
    refuse_nan(name, log_posterior)
    with np.errstate(over="ignore"):
        check_posterior(name, np.exp(log_posterior), truth, draws)


def check_prior(prior: Floats, c: int) -> None:
    """Refuses what is not P(a), (c,)."""
    if prior.shape != (c,) or not np.isclose(prior.sum(), 1) or not (prior >= 0).all():
        raise LeakageError(f"prior is to be {c} probabilities that sum to 1, got {prior.tolist()}")


def check_trials(name: str, n: int, truth: Ints, draws: Draws, *, c: int) -> None:
    """Refuses no trial at all, lengths that differ, and secrets outside 0..c-1."""
    if not n:
        raise LeakageError(f"{name} holds no trial, at least 1 is needed")
    if not n == len(truth) == len(draws.units):
        raise LeakageError(
            f"{name} has {n} trials, truth {len(truth)} and draws {len(draws.units)}; "
            "they are to be the same"
        )
    if not 0 <= truth.min() <= truth.max() < c:
        found = f"{truth.min()}..{truth.max()}"
        raise LeakageError(f"truth holds the secrets {found}, allowed are 0..{c - 1}")


def log_odds(log_posterior: Floats, value: int) -> Floats:
    """The log-odds of a value against all others, (n,): the order of q, without ties at q = 1.

    >>> log_odds(np.log([[0.5, 0.25, 0.25]]), 0)
    array([0.])
    """
    rest = special.logsumexp(np.delete(log_posterior, value, axis=1), axis=1)
    return np.asarray(log_posterior[:, value] - rest, dtype=np.float64)
