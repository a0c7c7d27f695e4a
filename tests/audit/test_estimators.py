"""Lower bounds on epsilon: closed forms, twins, chance and certainty, and published figures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_scores import DELTA, GAMMA, bound, normal, one
from scipy import stats

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.audit.estimators.base import Estimator, check_level, least_trials
from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.counts import Counts, shown_epsilon
from leakage.audit.estimators.credible import Credible, epsilon_chance
from leakage.audit.estimators.gaussian_curve import GaussianCurve
from leakage.audit.estimators.one_run import OneRun
from leakage.audit.estimators.rates import RateEstimator
from leakage.audit.estimators.scores import Scores, normal_scores, separated_scores
from leakage.audit.estimators.thresholds import Bonferroni, Explicit, Split, Threshold
from leakage.errors import LeakageError

ESTIMATORS: list[Estimator] = [
    ClopperPearson(),
    ClopperPearson(Explicit(0.5)),
    ClopperPearson(Split()),
    ClopperPearson(Bonferroni()),
    ClopperPearson(Bonferroni(None)),
    Credible(),
    Credible(Bonferroni()),
    GaussianCurve(),
    GaussianCurve(Bonferroni(None)),
    OneRun(),
    OneRun(100),
]


def test_the_contract_reaches_every_leaf() -> None:
    leaves = {*RateEstimator.__subclasses__(), *Estimator.__subclasses__()} - {RateEstimator}
    assert leaves == {type(estimator) for estimator in ESTIMATORS}
    thresholds = {type(getattr(e, "threshold", None)) for e in ESTIMATORS} - {type(None)}
    assert thresholds == set(Threshold.__subclasses__())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
class TestContract:
    def test_perfect_separation_is_finite_and_the_ceiling(self, estimator: Estimator) -> None:
        found = bound(estimator, separated_scores(300, 200))
        assert 0 < found.low < math.inf
        assert found.low == pytest.approx(estimator.ceiling(300, 200, DELTA, GAMMA))
        assert found.value == math.inf
        for mu in (0.0, 1.0, 3.0):
            assert bound(estimator, normal(mu, 250, 3)).low <= found.low * 1.05

    def test_chance_and_reversed_scores_show_nothing(self, estimator: Estimator) -> None:
        chance = normal_scores(0.0, 400, 400)
        assert bound(estimator, chance).low == 0  # unlike PrivacyGuard's, .341
        scores = normal(3.0, 400, 0)
        assert bound(estimator, Scores(scores.one, scores.zero)).low == 0
        tied = Scores(np.zeros(400), np.zeros(400))
        assert bound(estimator, tied).low == 0

    def test_the_bound_lies_below_the_estimate_and_above_zero(self, estimator: Estimator) -> None:
        for seed, mu in enumerate((0.2, 1.0, 2.0)):
            found = bound(estimator, normal(mu, 500, seed))
            assert 0 <= found.low <= found.value
            if estimator.name == "credible":  # whose posterior is proper where no error was made
                assert found.low <= found.high < math.inf
            else:
                assert math.isnan(found.high) or found.high >= found.value
            assert found.note

    def test_too_few_trials_show_nothing(self, estimator: Estimator) -> None:
        if isinstance(estimator, OneRun) and estimator.guesses:
            estimator = OneRun(2)
        for n0, n1 in ((2, 0), (0, 2), (1, 1)):
            assert bound(estimator, separated_scores(n0, n1)).low == 0
            assert estimator.ceiling(n0, n1, DELTA, GAMMA) == 0
        assert estimator.ceiling(0, 0, DELTA, GAMMA) == 0

    def test_a_bound_is_the_same_again(self, estimator: Estimator) -> None:
        scores = normal(1.0, 300, 0)
        assert repr(bound(estimator, scores)) == repr(bound(estimator, scores))

    def test_a_plan_settles_what_is_open_and_nothing_else(self, estimator: Estimator) -> None:
        planned = estimator.planned(normal_scores(1.0, 500, 500), DELTA, GAMMA)
        setting = "guesses" if isinstance(estimator, OneRun) else "threshold"
        if getattr(estimator, setting) is None:
            assert planned != estimator
            assert getattr(planned, setting) is not None
            expected = [
                e.expected(normal_scores(1.0, 500, 500), DELTA, GAMMA) for e in (planned, estimator)
            ]
            assert expected[0] > expected[1]
        else:
            assert planned == estimator
        assert planned.planned(normal_scores(3.0, 50, 50), DELTA, GAMMA) == planned

    def test_least_trials_are_the_first_to_show_anything(self, estimator: Estimator) -> None:
        least = least_trials(estimator, DELTA, GAMMA)
        half = least // 2
        assert estimator.ceiling(half, half, DELTA, GAMMA) > 0
        assert estimator.ceiling(half - 1, half - 1, DELTA, GAMMA) == 0

    def test_it_tells_its_assumption(self, estimator: Estimator) -> None:
        picked = "thresholds are picked on the scores that they are judged on"
        assumptions = {
            "clopper_pearson": "",
            "credible": "Bayesian credible, no frequentist coverage",
            "gaussian": "valid only if the noise is Gaussian",
            "one_run": "needs fair independent coins",
        }
        loose = getattr(estimator, "threshold", None) == Bonferroni(None)
        parts = [assumptions[estimator.name], picked if loose else ""]
        assert estimator.assumption == "; ".join(filter(None, parts))
        assert estimator.valid == (estimator.name in ("clopper_pearson", "one_run") and not loose)

    def test_a_level_outside_its_range_is_refused(self, estimator: Estimator) -> None:
        scores = separated_scores(9, 9)
        rng = np.random.default_rng(0)
        for delta in (-0.1, 1.0, math.nan):
            for call in (
                lambda delta=delta: estimator.bound(scores, delta, 0.05, rng),
                lambda delta=delta: estimator.ceiling(9, 9, delta, 0.05),
                lambda delta=delta: estimator.planned(normal_scores(1, 9, 9), delta, 0.05),
            ):
                with pytest.raises(LeakageError, match=r"^audit\.delta: a number in \[0, 1\)"):
                    call()
        with pytest.raises(LeakageError, match=r"^audit\.confidence: .* needed, got 95$"):
            estimator.bound(scores, DELTA, 1 - 95, rng)


def test_levels() -> None:
    check_level(0.0, 0.05)
    with pytest.raises(LeakageError) as caught:
        check_level(1.0, 0.05)
    assert str(caught.value) == "audit.delta: a number in [0, 1) is needed, got 1.0"
    with pytest.raises(LeakageError) as caught:
        check_level(0.0, 0.0)
    assert str(caught.value) == "audit.confidence: a number in (0, 1) is needed, got 1"


# E1


@pytest.mark.parametrize(("n", "ceiling"), [(100, 3.28), (1000, 5.60), (10_000, 7.905)])
def test_ceilings_of_clopper_pearson(n: int, ceiling: float) -> None:
    found = ClopperPearson(Explicit(0.0)).ceiling(n, n, DELTA, GAMMA)
    assert found == pytest.approx(ceiling, abs=0.005)
    limit = 1 - 0.025 ** (1 / n)  # no error in n trials
    assert found == pytest.approx(math.log((1 - DELTA - limit) / limit))


def test_clopper_pearson_by_hand() -> None:
    """12 of 40 under zero lie above 0, 5 of 50 under one do not."""
    scores = Scores(np.repeat([-1.0, 1.0], [28, 12]), np.repeat([-1.0, 1.0], [5, 45]))
    found = bound(ClopperPearson(Explicit(0.0)), scores, delta=0.01)
    fpr, fnr = stats.beta.ppf(0.975, 13, 28), stats.beta.ppf(0.975, 6, 45)
    assert found.low == pytest.approx(
        max(math.log((0.99 - fnr) / fpr), math.log((0.99 - fpr) / fnr))
    )
    assert found.value == pytest.approx(math.log((0.99 - 0.3) / 0.1))
    fpr, fnr = stats.beta.ppf(0.025, 12, 29), stats.beta.ppf(0.025, 5, 46)
    assert found.high == pytest.approx(
        max(math.log((0.99 - fnr) / fpr), math.log((0.99 - fpr) / fnr))
    )
    assert found.note == "threshold 0: 12 of 40 above it under zero, 5 of 50 not above it under one"


def test_a_plan_maximises_the_expected_bound() -> None:
    planned = ClopperPearson().planned(normal_scores(1.0, 500, 500), DELTA, GAMMA)
    best = planned.expected(normal_scores(1.0, 500, 500), DELTA, GAMMA)
    for at in np.linspace(-3, 4, 60):
        assert (
            ClopperPearson(Explicit(at)).expected(normal_scores(1.0, 500, 500), DELTA, GAMMA)
            < best + 0.05
        )


# E2


@pytest.mark.parametrize(
    ("counts", "delta", "low"),
    [  # Beta(...).eps_lo(delta, gamma, xtol=1e-4) of privacy-estimates 0.1.0.post1
        (one(150, 500, 200, 500, 0.05), 1e-5, 0.567299),
        (one(10, 500, 300, 500, 0.05), 1e-5, 2.501974),
    ],
)
def test_credible_agrees_with_privacy_estimates(counts: Counts, delta: float, low: float) -> None:
    assert Credible().judge(counts, delta).low == pytest.approx(low, abs=1e-4)


def test_credible_lies_above_clopper_pearson() -> None:
    """The figures of the notes; counts that give both are 240 and 446 of 1,000, gamma .1."""
    counts = one(240, 1000, 446, 1000, 0.1)
    assert Credible().judge(counts, DELTA).low == pytest.approx(0.756, abs=5e-4)
    assert ClopperPearson().judge(counts, DELTA).low == pytest.approx(0.695, abs=5e-4)


@pytest.mark.parametrize(
    "counts",
    [
        one(0, 100, 0, 100, 0.05),
        one(1, 10, 400_000, 1_000_000, 0.05),
        one(453, 5000, 3116, 5000, 0.1),
        one(3, 4, 2, 5, 0.05),
    ],
)
@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_the_posterior_of_epsilon_is_that_of_drawn_rates(counts: Counts, delta: float) -> None:
    rng = np.random.default_rng(0)
    fp, fn = counts.false_positives[0], counts.false_negatives[0]
    fpr = rng.beta(0.5 + fp, 0.5 + counts.n0 - fp, 200_000)
    fnr = rng.beta(0.5 + fn, 0.5 + counts.n1 - fn, 200_000)
    drawn = np.maximum(0, shown_epsilon(fpr, fnr, delta))
    found = Credible().judge(counts, delta)
    for limit, chance in ((found.low, counts.gamma), (found.high, 1 - counts.gamma)):
        assert np.mean(drawn <= limit) >= chance - 0.003
        assert limit == 0 or np.mean(drawn <= limit) <= chance + 0.003
    for epsilon in (0.0, 0.5, 2.0, 8.0):
        at_most = epsilon_chance(counts, delta, epsilon)
        assert at_most == pytest.approx(np.mean(drawn <= epsilon), abs=0.005)


# E3


def test_gaussian_curve_is_the_curve_through_the_limits() -> None:
    counts = one(48, 500, 310, 500, 0.05)
    (fpr,), (fnr,) = counts.upper()
    mu = stats.norm.isf(fpr) - stats.norm.ppf(fnr)
    assert GaussianCurve().judge(counts, DELTA).low == pytest.approx(gaussian_epsilon(mu, DELTA))


def test_a_gaussian_curve_is_refused_without_a_delta() -> None:
    with pytest.raises(LeakageError) as caught:
        GaussianCurve(Explicit(0.0)).ceiling(50, 50, 0.0, GAMMA)
    assert str(caught.value) == (
        "audit.delta: a Gaussian curve has no finite epsilon at delta 0; set a delta above 0, or"
        " leave GaussianCurve out of audit.estimators"
    )


def test_a_delta_that_no_number_of_trials_overcomes_is_told() -> None:
    with pytest.raises(LeakageError) as caught:
        least_trials(OneRun(), 0.2, GAMMA)
    assert str(caught.value) == (
        "audit.delta: at 0.2 and confidence 0.95 the estimator one_run shows no epsilon above 0"
        " with 4194304 trials; a smaller delta or a lower confidence is needed"
    )


# Tightness: mean bounds over 500 trials a side, as the notes list them


@pytest.mark.parametrize(
    ("estimator", "listed"),
    [
        (ClopperPearson(Split()), (0.15, 0.79, 2.19)),
        (GaussianCurve(Split()), (0.54, 2.28, 7.49)),
        (OneRun(100), (0.67, 1.66, 3.30)),
    ],
    ids=repr,
)
def test_bounds_are_as_tight_as_listed(estimator: Estimator, listed: tuple[float, ...]) -> None:
    """The listed means are of 20 simulations and have an error of their own, allowed for here."""
    for mu, before in zip((0.5, 1.0, 2.0), listed, strict=True):
        lows = [bound(estimator, normal(mu, 500, s), seed=s).low for s in range(30)]
        error = np.std(lows) * math.sqrt(1 / 20 + 1 / 30)
        assert np.mean(lows) >= before - 2 * error
        if estimator.valid:
            assert np.mean(lows) <= gaussian_epsilon(mu, DELTA)
        if isinstance(estimator, RateEstimator):  # planned, it beats the listed split outright
            planned = replace(estimator, threshold=None).planned(
                normal_scores(mu, 500, 500), DELTA, GAMMA
            )
            fixed = [bound(planned, normal(mu, 500, s)).low for s in range(20)]
            assert np.mean(fixed) >= 1.1 * before


def test_a_threshold_from_theory_beats_a_split() -> None:
    planned = ClopperPearson().planned(normal_scores(1.0, 500, 500), DELTA, GAMMA)
    fixed = [bound(planned, normal(1.0, 500, s)).low for s in range(200)]
    split = [bound(ClopperPearson(Split()), normal(1.0, 500, s)).low for s in range(200)]
    assert np.mean(fixed) == pytest.approx(1.18, abs=0.06)
    assert np.mean(split) == pytest.approx(0.86, abs=0.08)
