"""Counts, limits and the choice of a threshold: twins, closed forms, and what each may see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leakage.audit.estimators.clopper_pearson import ClopperPearson
from leakage.audit.estimators.counts import Counts, hull, shown_epsilon, upper_rate
from leakage.audit.estimators.one_run import one_run_epsilon
from leakage.audit.estimators.scores import Floats, Scores, normal_scores
from leakage.audit.estimators.thresholds import Bonferroni, Explicit, Split, Threshold
from leakage.errors import LeakageError

whole = st.lists(st.integers(0, 6).map(float), max_size=12).map(np.array)


def merits(counts: Counts) -> Floats:
    return shown_epsilon(*counts.upper(), 0.0)


def counts_of(threshold: Threshold, scores: Scores, seed: int = 0, gamma: float = 0.05) -> Counts:
    return threshold.counts(scores, gamma, np.random.default_rng(seed), merits)


@given(zero=whole, one=whole, at=st.floats(-1, 7))
def test_one_is_guessed_above_the_threshold(zero: Floats, one: Floats, at: float) -> None:
    counts = Counts.of(Scores(zero, one), np.array([at]), 0.05)
    assert counts.false_positives.tolist() == [sum(s > at for s in zero)]
    assert counts.false_negatives.tolist() == [sum(not s > at for s in one)]


@pytest.mark.parametrize("n", [10, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_upper_limit_leaves_so_few_errors_the_chance_miss(n: int, share: float) -> None:
    k = round(n * share)
    limit = upper_rate(np.array([float(k)]), n, 0.025)[0]
    assert stats.binom.cdf(k, n, limit) == pytest.approx(0.025)
    lower = Counts(np.zeros(1), np.array([float(k)]), n, np.zeros(1), n, 0.05).lower()[0][0]
    assert stats.binom.sf(k - 1, n, lower) == pytest.approx(0.025) if k else lower == 0


def test_a_rate_without_trials_or_without_a_right_guess_is_bounded_by_one() -> None:
    assert upper_rate(np.array([0.0]), 0, 0.025).tolist() == [1.0]
    assert upper_rate(np.array([7.0]), 7, 0.025).tolist() == [1.0]


@given(fpr=st.floats(1e-6, 1), fnr=st.floats(1e-6, 1), delta=st.floats(0, 0.9))
def test_the_epsilon_of_two_rates_is_the_least_that_allows_them(
    fpr: float, fnr: float, delta: float
) -> None:
    found = max(0.0, shown_epsilon(np.array([fpr]), np.array([fnr]), delta)[0])

    def allowed(epsilon: float) -> bool:
        grown = np.exp(epsilon)
        return bool(fpr + grown * fnr >= 1 - delta and fnr + grown * fpr >= 1 - delta)

    assert allowed(found + 1e-9)
    assert found == 0 or not allowed(found - 1e-9)


@given(zero=whole, one=whole)
def test_the_hull_holds_the_thresholds_that_no_two_others_surround(
    zero: Floats, one: Floats
) -> None:
    scores = Scores(zero, one)
    every = np.concatenate([[-np.inf], np.unique(np.concatenate([zero, one]))])
    points = [(sum(s <= t for s in zero), sum(s <= t for s in one)) for t in every]

    def beaten(point: tuple[int, int]) -> bool:
        """Whether the point lies on or above a line between two others, or is one of the ends."""
        return any(
            (b[0] - a[0]) * (point[1] - a[1]) >= (b[1] - a[1]) * (point[0] - a[0])
            for a, b in itertools.combinations([p for p in points if p != point], 2)
            if a[0] <= point[0] <= b[0] and a[1] <= point[1] <= b[1]
        )

    corners = [p for p in points if p in (points[0], points[-1]) or not beaten(p)]
    counts = Counts.of(scores, hull(scores), 1.0)
    found = zip(len(zero) - counts.false_positives, counts.false_negatives, strict=True)
    assert list(found) == corners


@pytest.mark.parametrize(
    ("mu", "corners", "corrected", "uncorrected"),
    [(1, 386, 1.134, 2.394), (2, 374, 2.312, 4.683), (4, 140, 4.396, 7.450)],
)
def test_published_one_run_values_need_the_correction(
    mu: float, corners: int, corrected: float, uncorrected: float
) -> None:
    """Guesses of one alone, at each corner of the hull, as jax_privacy makes them."""
    scores = normal_scores(mu, 10_000, 10_000)
    at = hull(scores)
    assert at.size == corners
    counts = Counts.of(scores, at, 1.0)
    right = (counts.n1 - counts.false_negatives).astype(int).tolist()
    guesses = [r + int(wrong) for r, wrong in zip(right, counts.false_positives, strict=True)]
    for gamma, value in ((0.05 / at.size, corrected), (0.05, uncorrected)):
        undisturbed = [
            one_run_epsilon(20_000, r, v, 0.0, gamma) for r, v in zip(guesses, right, strict=True)
        ]
        best = 0.0
        for i in np.argsort(undisturbed)[::-1]:
            if undisturbed[i] > best:  # a delta can only lower it
                best = max(best, one_run_epsilon(20_000, guesses[i], right[i], 1e-6, gamma))
        assert best == pytest.approx(value, abs=6e-4)


def test_split_judges_on_trials_that_did_not_choose() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(rng.normal(0, 1, 300), rng.normal(1, 1, 500))
    seen: list[Counts] = []

    def noted(counts: Counts) -> Floats:
        seen.append(counts)
        return merits(counts)

    for share in (0.2, 0.5):
        seen.clear()
        judged = Split(share).counts(scores, 0.05, np.random.default_rng(1), noted)
        (chose,) = seen
        assert (chose.n0, chose.n1) == (300 * share, 500 * share)
        assert (judged.n0, judged.n1) == (300 - chose.n0, 500 - chose.n1)
        assert judged.gamma == 0.05
        best = int(np.argmax(merits(chose)))
        assert judged.at.tolist() == [chose.at[best]]
        whole_sample = Counts.of(scores, judged.at, 0.05)  # chosen and judged make up the whole
        assert judged.false_positives + chose.false_positives[best] == whole_sample.false_positives
        assert judged.false_negatives + chose.false_negatives[best] == whole_sample.false_negatives


@given(n0=st.integers(0, 3000), ranks=st.integers(2, 100))
def test_ranks_depend_on_the_number_of_trials_alone(n0: int, ranks: int) -> None:
    rng = np.random.default_rng(n0)
    first, second = (
        counts_of(Bonferroni(ranks), Scores(draw(size=n0), draw(size=9)))
        for draw in (rng.normal, rng.exponential)
    )
    assert first.false_positives.tolist() == second.false_positives.tolist()
    assert len(set(first.false_positives)) == first.at.size <= ranks
    assert first.at.size >= min(2, n0)
    assert first.gamma == second.gamma == 0.05 / max(1, first.at.size)
    if n0:
        assert {0, n0 - 1} <= set(first.false_positives)


def test_without_ties_the_false_positives_of_a_rank_are_those_counted() -> None:
    scores = Scores(np.random.default_rng(0).normal(size=500), np.zeros(3))
    counts = counts_of(Bonferroni(), scores)
    counted = Counts.of(scores, counts.at, 1.0)
    assert counts.false_positives.tolist() == counted.false_positives.tolist()


def test_tied_scores_count_no_fewer_false_positives_than_the_rank() -> None:
    scores = Scores(np.repeat([0.0, 1.0], [60, 40]), np.ones(100))
    counts = counts_of(Bonferroni(8), scores)
    counted = Counts.of(scores, counts.at, 1.0)
    assert (counts.false_positives >= counted.false_positives).all()
    assert (counts.false_positives > counted.false_positives).any()


@pytest.mark.parametrize("n0", [10, 500])
def test_the_limit_of_a_rank_is_missed_with_exactly_its_share(n0: int) -> None:
    """1 - F(X_(j)) is Beta(n0 - j + 1, j) under any continuous F."""
    scores = Scores(np.random.default_rng(0).normal(size=n0), np.zeros(9))
    counts = counts_of(Bonferroni(), scores)
    above = counts.false_positives
    missed = stats.beta.sf(counts.upper()[0], above + 1, n0 - above)
    np.testing.assert_allclose(missed, counts.gamma / 2)


def test_each_corner_of_the_hull_is_judged_with_its_part_of_gamma() -> None:
    scores = normal_scores(1.0, 200, 300)
    counts = counts_of(Bonferroni(ranks=None), scores)
    assert counts.at.tolist() == hull(scores).tolist()
    assert counts.gamma == 0.05 / counts.at.size


def test_thresholds_say_what_they_rest_on() -> None:
    for threshold in (Explicit(0.0), Split(), Bonferroni()):
        assert threshold.assumption == ""
        assert ClopperPearson(threshold).valid
    published = Bonferroni(ranks=None)
    assert published.assumption == "thresholds are picked on the scores that they are judged on"
    assert not ClopperPearson(published).valid
    assert ClopperPearson(published).assumption == published.assumption


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Split(0.0), "Split.share: a number in (0, 1) is needed, got 0.0"),
        (lambda: Split(1.0), "Split.share: a number in (0, 1) is needed, got 1.0"),
        (lambda: Explicit(np.nan), "Explicit.at: a finite score is needed, got nan"),
        (
            lambda: Bonferroni(1),
            "Bonferroni.ranks: a whole number of at least 2 is needed, got 1",
        ),
        (
            lambda: Scores(np.array([0.0, np.nan, np.inf]), np.zeros(2)),
            "audit: 2 of 3 scores under 'zero' are NaN or infinite (the first is that of its trial"
            " 1); every score has to be finite",
        ),
        (
            lambda: Scores(np.zeros(2), np.zeros((2, 1))),
            "audit: the scores under 'one' have shape (2, 1); one a trial, (n,), is needed",
        ),
    ],
)
def test_what_is_refused(build, sentence: str) -> None:  # noqa: ANN001
    with pytest.raises(LeakageError) as caught:
        build()
    assert str(caught.value) == sentence
