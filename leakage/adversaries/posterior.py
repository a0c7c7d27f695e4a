"""From log scores to a posterior: calibration, floor, priors, and rounds put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from leakage.adversaries.base import Array

_TIES = 1e-6  # the weight of what the floor hides: it parts ties, and nothing else


@dataclass(frozen=True)
class Calibrator:
    """log q(a) = log softmax(sum_r slope_r * scores_r(a) + bias(a)), floored.

    With one source it is Platt scaling (2 values) or temperature scaling with biases (more);
    with several it stacks them, as rounds that share their records must be (they are dependent).
    A slope may be negative: so the sign of a score is fixed here, on the calibrate split.

    Args:
        slopes: one a source, (r,).
        biases: one a value, (c,).
        floor: the least share of a uniform guess in q, in (0, 1).
    """

    slopes: Array
    biases: Array
    floor: float

    def __call__(self, sources: Sequence[Array]) -> Array:
        """Maps r arrays of log scores (n, c) to log q, float64 (n, c)."""
        logits = self.unfloored(sources)
        q = (1 - self.floor) * np.exp(logits) + self.floor / logits.shape[1]
        return np.asarray(np.log(q))

    def unfloored(self, sources: Sequence[Array]) -> Array:
        """The same without the floor, below which all scores would be one."""
        scores = np.stack([_bounded(source) for source in sources])  # (r, n, c)
        logits = np.tensordot(self.slopes, scores, 1) + self.biases
        return np.asarray(log_softmax(logits, axis=1))


def calibrate(
    sources: Sequence[Array], values: NDArray[np.int64], *, alike: bool = False
) -> Calibrator:
    """Fits slopes and biases on the calibrate split by maximum likelihood.

    The targets are softened by 1 / (n + 2) as Platt (1999) does, so that a separable split has a
    finite answer; the floor is 1 / (n + 1).

    Args:
        sources: r arrays of log scores (n, c).
        values: the secrets, int64 (n,), in about equal numbers of each value.
        alike: whether values are only places in a line-up, so that no bias means anything.
    """
    scores = np.stack([_bounded(source) for source in sources])  # (r, n, c)
    r, n, c = scores.shape
    spread = np.maximum(scores.std(axis=(1, 2)), 1e-12)
    scaled = scores / spread[:, None, None]
    target = np.full((n, c), 1 / (n + 2) / c)
    target[np.arange(n), values] += 1 - 1 / (n + 2)

    def loss(x: Array) -> tuple[float, Array]:
        logits = np.tensordot(x[:r], scaled, 1) + x[r:]
        log_q = log_softmax(logits, axis=1)
        residual = (softmax(logits, axis=1) - target) / n  # (n, c)
        biased = np.zeros(c) if alike else residual.sum(0)
        gradient = np.concatenate([np.tensordot(scaled, residual, 2), biased])
        return float(-(target * log_q).sum() / n), np.asarray(gradient)

    start = np.concatenate([np.full(r, 1 / r), np.zeros(c)])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return Calibrator(fitted[:r] / spread, fitted[r:] - fitted[r:].mean(), 1 / (n + 1))


@dataclass(frozen=True)
class Answer:
    """A posterior for the trials, and for the calibrate batches on which it was fixed.

    Args:
        log_posterior: natural logarithm, (n, c).
        ranking: the same, but that trials whose posteriors the floor makes one are in the order of
            their scores: what orders trials goes by it, (n, c).
        calibrate: the ranking of the calibrate batches, (m, c).
        calibrate_values: their secrets, (m,).
        live: of the releases of a real step, log posterior (w, c); None where there are none.
    """

    log_posterior: Array
    ranking: Array
    calibrate: Array
    calibrate_values: NDArray[np.int64]
    live: Array | None = None


@dataclass(frozen=True)
class Observed:
    """What one guesser saw in one round: log scores (m, c) and (n, c) from each of its sources.

    Args:
        calibrate: of the calibrate batches.
        challenge: of the trials.
        live: of the releases of a real step, (w, c); no sources where there are none.
    """

    calibrate: Sequence[Array]
    challenge: Sequence[Array]
    live: Sequence[Array] = ()


def answer(
    rounds: Sequence[Observed],
    values: NDArray[np.int64],
    prior: Array,
    *,
    dependent: bool,
    alike: bool = False,
) -> Answer:
    """Puts rounds together: independent ones are summed, dependent ones are stacked.

    Args:
        rounds: at least one.
        values: the secrets of the calibrate batches, (m,).
        prior: P(a), (c,).
        dependent: whether the rounds saw the same records.
        alike: whether values are only places in a line-up.
    """
    if dependent:
        calibrate_sources = [[s for seen in rounds for s in seen.calibrate]]
        challenge_sources = [[s for seen in rounds for s in seen.challenge]]
    else:
        calibrate_sources = [list(seen.calibrate) for seen in rounds]
        challenge_sources = [list(seen.challenge) for seen in rounds]
    calibrators = [calibrate(sources, values, alike=alike) for sources in calibrate_sources]
    fitted_prior = np.bincount(values, minlength=len(prior)) / len(values)

    def ranked(given: Sequence[Sequence[Array]], floored: Array) -> Array:
        pairs = zip(calibrators, given, strict=True)
        beyond = sum(to_q.unfloored(sources) for to_q, sources in pairs)
        return np.asarray(log_softmax(floored + _TIES * beyond, axis=1))

    known, asked = (
        posterior(
            [to_q(sources) for to_q, sources in zip(calibrators, given, strict=True)],
            fitted_prior,
            prior,
        )
        for given in (calibrate_sources, challenge_sources)
    )
    ranking = ranked(challenge_sources, asked)
    live = None
    if len(rounds) == 1 and rounds[0].live:  # real steps of several rounds have no secret in common
        live = posterior([calibrators[0](rounds[0].live)], fitted_prior, prior)
    return Answer(asked, ranking, ranked(calibrate_sources, known), values, live)


def posterior(rounds: Sequence[Array], fitted_prior: Array, prior: Array) -> Array:
    """Log P(a | g_1..g_r) of independent rounds: log P(a) + sum_i [log q_i(a) - log pi(a)].

    Args:
        rounds: r arrays of calibrated log q (n, c), each from a batch of its own.
        fitted_prior: pi, under which they were calibrated, (c,).
        prior: P(a), (c,).

    Returns:
        Normalised log posterior, float64 (n, c).
    """
    with np.errstate(divide="ignore"):
        total = np.log(prior) + sum(log_q - np.log(fitted_prior) for log_q in rounds)
    return np.asarray(log_softmax(total, axis=1))


def _bounded(scores: Array) -> Array:
    """Log scores of finite size: -inf (a value that never got a vote) becomes a low finite one."""
    below = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(np.where(np.isinf(below), -20.0, np.maximum(below, -1000.0)))
