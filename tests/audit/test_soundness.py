"""No bound exceeds the truth more often than it says, and the check catches auditors that do.

Two checks. `share_above` plays 400 audits of a mechanism whose epsilon is known: Laplace at delta 0
attains it at every threshold outside [0, 1], Gaussian at none. `chance_above` sums the binomial
chances exactly over randomised response, where epsilon is attained in both directions at once, so
that the union bound over FPR and FNR is nearly used up; a simulation could not tell 4 from 5%.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from leakage.accounting.gaussian import gaussian_mu
from leakage.audit.estimators.base import Estimator
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.counts import Counts, hull
from leakage.audit.estimators.gaussian_curve import GaussianCurve
from leakage.audit.estimators.one_run import OneRun, one_run_epsilon
from leakage.audit.estimators.scores import Floats, Scores, normal_scores
from leakage.audit.estimators.thresholds import Bonferroni, Explicit, Split

Auditor = Callable[[Scores, float, np.random.Generator], float]
GAMMA, RUNS, TRIALS = 0.05, 400, 4000  # a fair coin a trial: about 2,000 a side
EPSILONS = (0.5, 1.0, 2.0)


class Laplace:
    """A query of sensitivity 1 with Laplace noise of scale 1 / epsilon; delta 0."""

    delta, gap = 0.0, 1.0

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def noise(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.laplace(0, 1 / self.epsilon, n)


class Gaussian(Laplace):
    """The Gaussian mechanism that has this epsilon at delta 1e-5, scaled to unit noise."""

    delta = 1e-5

    def __init__(self, epsilon: float) -> None:
        super().__init__(epsilon)
        self.gap = gaussian_mu(epsilon, self.delta)

    def noise(self, n: int, rng: np.random.Generator) -> Floats:
        return rng.normal(0, 1, n)


def play(mechanism: Laplace, rng: np.random.Generator, distinct: int = TRIALS) -> Scores:
    """Trials with fair coins, of which `distinct` have noise of their own."""
    coin = rng.random(TRIALS) < 0.5
    score = np.resize(mechanism.noise(distinct, rng), TRIALS) + mechanism.gap * coin
    return Scores(score[~coin], score[coin])


def share_above(auditor: Auditor, mechanism: Laplace, distinct: int = TRIALS) -> float:
    """The share of 400 audits whose bound exceeds the truth."""
    rng = np.random.default_rng(0)
    bounds = [auditor(play(mechanism, rng, distinct), mechanism.delta, rng) for _ in range(RUNS)]
    return float(np.mean(np.array(bounds) > mechanism.epsilon))


def chance_above(low: Callable[[Counts], Floats], epsilon: float, n0: int, n1: int) -> float:
    """The chance that a bound exceeds the truth over randomised response: FPR = FNR, delta 0."""
    rate = 1 / (1 + math.exp(epsilon))
    k0, k1 = (stats.binom.ppf([1e-9, 1 - 1e-9], n, rate) for n in (n0, n1))
    wrong0, wrong1 = np.meshgrid(
        np.arange(k0[0], k0[1] + 1), np.arange(k1[0], k1[1] + 1), indexing="ij"
    )
    counts = Counts(np.zeros(wrong0.size), wrong0.ravel(), n0, wrong1.ravel(), n1, GAMMA)
    above = low(counts).reshape(wrong0.shape) > epsilon
    chance0, chance1 = stats.binom.pmf(wrong0, n0, rate), stats.binom.pmf(wrong1, n1, rate)
    return float(np.sum(chance0 * chance1 * above))


def auditor_of(estimator: Estimator) -> Auditor:
    return lambda scores, delta, rng: estimator.bound(scores, delta, GAMMA, rng).low


def fixed(mechanism: Laplace) -> ClopperPearson:
    """One threshold for all runs: where Laplace attains epsilon, or as the plan has it."""
    if isinstance(mechanism, Gaussian):
        half = TRIALS // 2
        return ClopperPearson().planned(
            normal_scores(mechanism.gap, half, half), mechanism.delta, GAMMA
        )
    return ClopperPearson(Explicit(1.5))


def merits(counts: Counts) -> Floats:
    return ClopperPearson().merits(counts, 0.0)


# Auditors with one fault each


def same_scores(scores: Scores, delta: float, rng: np.random.Generator) -> float:
    """The best threshold on the very scores that it is judged on, uncorrected."""
    counts = Counts.of(scores, hull(scores), GAMMA)
    return float(np.max(ClopperPearson().merits(counts, delta)))


def best_guesses(scores: Scores, delta: float, rng: np.random.Generator) -> float:
    """The best number of guesses on the very scores that they are judged on."""
    bounds = [OneRun(r).bound(scores, delta, GAMMA, rng).low for r in (50, 200, 800)]
    return max(bounds)


def not_halved(counts: Counts) -> Floats:
    """Each of the two limits missed with gamma in place of gamma / 2."""
    return merits(replace(counts, gamma=2 * counts.gamma))


def swapped(counts: Counts) -> Floats:
    """False negatives taken for false positives; with as many trials a side, none could tell."""
    fp, fn = counts.false_negatives, counts.false_positives
    return merits(replace(counts, false_positives=fp, false_negatives=fn))


# The tests


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("kind", [Laplace, Gaussian])
@pytest.mark.parametrize("choice", ["explicit", "split", "bonferroni", "one_run"])
def test_a_bound_exceeds_the_truth_in_at_most_5_percent(
    choice: str, kind: type[Laplace], epsilon: float
) -> None:
    mechanism = kind(epsilon)
    estimator: Estimator = {
        "explicit": fixed(mechanism),
        "split": ClopperPearson(Split()),
        "bonferroni": ClopperPearson(Bonferroni()),
        "one_run": OneRun(50),
    }[choice]
    assert estimator.valid
    assert share_above(auditor_of(estimator), mechanism) <= GAMMA


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_bound_over_laplace_does_not_claim_nothing(epsilon: float) -> None:
    rng = np.random.default_rng(0)
    estimators = [fixed(Laplace(epsilon)), ClopperPearson(Split()), ClopperPearson(Bonferroni())]
    for estimator in [*estimators, OneRun(200)]:
        lows = [
            estimator.bound(play(Laplace(epsilon), rng), 0.0, GAMMA, rng).low for _ in range(30)
        ]
        assert np.mean(lows) >= 0.4 * epsilon


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_threshold_chosen_on_the_same_scores_is_caught(epsilon: float) -> None:
    assert share_above(same_scores, Laplace(epsilon)) > GAMMA


def test_guesses_chosen_on_the_same_scores_are_caught() -> None:
    assert share_above(best_guesses, Laplace(1.0)) > GAMMA


@pytest.mark.parametrize("estimator", [ClopperPearson(Explicit(1.5)), OneRun(200)], ids=repr)
def test_noise_that_is_reused_between_trials_is_caught(estimator: Estimator) -> None:
    assert share_above(auditor_of(estimator), Laplace(1.0), distinct=100) > GAMMA


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 3.0, 5.0])
@pytest.mark.parametrize(("n0", "n1"), [(2000, 2000), (2000, 1000), (150, 600)])
def test_both_limits_together_miss_with_at_most_gamma(epsilon: float, n0: int, n1: int) -> None:
    assert chance_above(merits, epsilon, n0, n1) <= GAMMA


def test_a_gamma_that_is_not_halved_is_caught() -> None:
    """Only where epsilon is attained in both directions: at one threshold of Laplace it is not."""
    for epsilon in (2.0, 3.0, 4.0, 5.0):
        assert chance_above(not_halved, epsilon, 2000, 2000) > GAMMA


def test_rates_that_are_swapped_are_caught() -> None:
    for epsilon in (1.0, 2.0, 3.0):
        assert chance_above(swapped, epsilon, 2000, 1000) > GAMMA


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("r", [50, 100, 200, 400])
def test_right_guesses_over_laplace_miss_with_at_most_gamma(r: int, epsilon: float) -> None:
    """Outside [0, 1] each guess is right with e^eps / (1 + e^eps) exactly: the bound is tight."""
    v = np.arange(r + 1)
    low = np.array([one_run_epsilon(TRIALS, r, int(right), 0.0, GAMMA) for right in v])
    chance = stats.binom.pmf(v, r, 1 / (1 + math.exp(-epsilon)))
    missed = float(np.sum(chance[low > epsilon]))
    assert 0.2 * GAMMA <= missed <= GAMMA


def test_bonferroni_holds_over_scores_that_tie() -> None:
    """Laplace noise on a grid of steps of a quarter: epsilon is attained at its atoms."""

    class Rounded(Laplace):
        def noise(self, n: int, rng: np.random.Generator) -> Floats:
            return np.round(4 * super().noise(n, rng)) / 4

    assert share_above(auditor_of(ClopperPearson(Bonferroni())), Rounded(1.0)) <= GAMMA


@pytest.mark.parametrize(("epsilon", "claimed"), [(2.0, 8.3), (1.0, 4.2), (0.5, 1.95)])
def test_a_gaussian_curve_overclaims_over_laplace(epsilon: float, claimed: float) -> None:
    """So it is never the headline, and says what it assumes."""
    estimator, rng = GaussianCurve(Explicit(0.5)), np.random.default_rng(0)
    assert not estimator.valid
    lows = [estimator.bound(play(Laplace(epsilon), rng), 1e-5, GAMMA, rng).low for _ in range(30)]
    assert min(lows) > epsilon
    assert np.mean(lows) == pytest.approx(claimed, rel=0.1)
