"""Coverage of the intervals in simulated games, units redrawn in each, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from drawn_batches import GAMES, Floats, Game, Ints, Rng, batches
from scipy.stats import norm

from leakage.metrics.attack import asr, bits
from leakage.metrics.information import gaussian_bits
from leakage.metrics.intervals import Draws, Estimate
from leakage.metrics.ranking import auroc, gain, tpr_at_fpr


def play(rng: Rng, size: int, k: int, trials: int, means: Floats) -> Game:
    """A game of class pools: Bayes' log posterior on the batch sum, the secrets, the draws."""
    c = len(means)
    x = rng.normal(size=(c * size, means.shape[1])) + np.repeat(means, size, axis=0)
    truth = rng.integers(0, c, trials)
    units = batches(rng, size, k, trials) + size * truth[:, None]
    scores = x[units].sum(axis=1) @ means.T - k * (means**2).sum(axis=1) / 2  # (n, c)
    scores -= np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return scores, truth, Draws(units, np.repeat(np.arange(c), size))


def binary(d: float, k: int) -> Floats:
    """Class means at which batches of k lie d standard deviations apart."""
    return np.array([[-0.5], [0.5]]) * d / np.sqrt(k)


def coverage(estimates: Iterable[Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


def naive_delong(scores: Floats, truth: Ints) -> Estimate:
    ordered = [np.sort(scores[truth == a]) for a in (0, 1)]
    above = np.searchsorted(ordered[0], scores[truth == 1]) / len(ordered[0])
    below = 1 - np.searchsorted(ordered[1], scores[truth == 0]) / len(ordered[1])
    reach = 1.96 * np.sqrt(sum(v.var(ddof=1) / len(v) for v in (above, below)))
    value = above.mean()
    return Estimate(value, value - reach, value + reach, len(scores), 0)


@pytest.mark.parametrize("k", [4, 16])
def test_coverage_with_shared_records_where_delong_and_wald_fail(k: int) -> None:
    """(N, k, trials) = (1000, k, 4000), N a class, population redrawn in every game."""
    rng, d, trials = np.random.default_rng(k), 1.0, 4000
    found: dict[str, list[Estimate]] = {"asr": [], "auroc": [], "delong": [], "wald": []}
    lows = []
    for _ in range(GAMES):
        log_posterior, truth, draws = play(rng, 1000, k, trials, binary(d, k))
        found["asr"].append(asr(np.exp(log_posterior), truth, draws))
        found["auroc"].append(auroc(log_posterior, truth, draws))
        found["delong"].append(naive_delong(log_posterior[:, 1], truth))
        p = found["asr"][-1].value
        reach = 1.96 * np.sqrt(p * (1 - p) / trials)
        found["wald"].append(Estimate(p, p - reach, p + reach, trials, 0))
        lows.append(bits(log_posterior, truth, np.array([0.5, 0.5]), draws).low)
    area, success = norm.cdf(d / np.sqrt(2)), norm.cdf(d / 2)
    seen = [coverage(found[name], area) for name in ("auroc", "delong")]
    seen += [coverage(found[name], success) for name in ("asr", "wald")]
    assert 0.90 <= seen[0] <= 0.99
    assert 0.90 <= seen[2] <= 0.99
    assert seen[1] < (0.7 if k == 4 else 0.45)
    assert seen[3] < (0.7 if k == 4 else 0.45)
    assert 0.90 <= np.mean(np.array(lows) <= gaussian_bits(d)) <= 0.99


@pytest.mark.parametrize("area", [0.99, 0.998])
def test_coverage_near_certainty(area: float) -> None:
    rng, k, d = np.random.default_rng(9), 16, float(norm.ppf(area) * np.sqrt(2))
    areas, naive, lows = [], [], []
    for _ in range(GAMES):
        log_posterior, truth, draws = play(rng, 500, k, 3000, binary(d, k))
        areas.append(auroc(log_posterior, truth, draws))
        naive.append(naive_delong(log_posterior[:, 1], truth))
        lows.append(bits(log_posterior, truth, np.array([0.5, 0.5]), draws).low)
    assert 0.90 <= coverage(areas, area) <= 0.99
    assert coverage(naive, area) < 0.6
    assert 0.90 <= np.mean(np.array(lows) <= gaussian_bits(d)) <= 0.99
    assert np.median([area - e.low for e in areas]) < 4 * (1 - area)  # not by claiming nothing


def test_coverage_of_macro_auroc() -> None:
    means, k = np.array([[0.3, 0.0], [-0.3, 0.2], [0.0, -0.4]]), 4
    truth_game = play(np.random.default_rng(1), 200_000, k, 200_000, means)
    area = auroc(*truth_game).value
    rng = np.random.default_rng(2)
    seen = coverage([auroc(*play(rng, 500, k, 2000, means)) for _ in range(GAMES)], area)
    assert 0.90 <= seen <= 0.99


def target_game(rng: Rng, size: int, k: int, trials: int, delta: float) -> Game:
    """Scope target: one record of the class's pool, k-1 others of everybody."""
    x = rng.normal(size=2 * size) + np.repeat([-delta / 2, delta / 2], size)
    truth = rng.integers(0, 2, trials)
    target = rng.integers(0, size, trials) + size * truth
    others = batches(rng, 2 * size, k - 1, trials)
    redo = np.arange(trials)
    while len(redo := redo[(others[redo] == target[redo, None]).any(axis=1)]):
        others[redo] = batches(rng, 2 * size, k - 1, len(redo))
    units = np.column_stack([target, others])
    odds = x[units].sum(axis=1) * delta
    log_posterior = -np.logaddexp(0, np.column_stack([odds, -odds]))
    return log_posterior, truth, Draws(units, np.repeat([0, 1], size))


def test_coverage_of_the_target_scope() -> None:
    delta, k = 2.0, 8
    game = target_game(np.random.default_rng(1), 400_000, k, 400_000, delta)
    area, success = auroc(*game).value, asr(np.exp(game[0]), *game[1:]).value
    rng, areas, shares = np.random.default_rng(2), [], []
    for _ in range(GAMES):
        game = target_game(rng, 250, k, 4000, delta)
        areas.append(auroc(*game))
        shares.append(asr(np.exp(game[0]), *game[1:]))
    assert 0.90 <= coverage(areas, area) <= 0.99
    assert 0.90 <= coverage(shares, success) <= 0.99


def holders_game(rng: Rng, size: int, k: int, trials: int) -> Game:
    """Scope any: h in 1..4 holders and k-h others (value 1), or k others (value 0)."""
    x = rng.normal(size=2 * size) + np.repeat([0.0, 2.0], size)
    truth = rng.integers(0, 2, trials)
    holders = truth * rng.integers(1, 5, trials)
    units = batches(rng, size, k, trials)
    swap = np.arange(k) < holders[:, None]
    units = np.where(swap, batches(rng, size, k, trials) + size, units)
    odds = x[units].sum(axis=1) - 2.5
    log_posterior = -np.logaddexp(0, np.column_stack([odds, -odds]))
    return log_posterior, truth, Draws(units, np.repeat([0, 1], size))


def test_coverage_where_both_classes_draw_from_one_pool_and_counts_vary() -> None:
    area = auroc(*holders_game(np.random.default_rng(1), 200_000, 12, 200_000)).value
    rng = np.random.default_rng(2)
    areas = [auroc(*holders_game(rng, 250, 12, 3000)) for _ in range(GAMES)]
    assert 0.90 <= coverage(areas, area) <= 0.99


def test_gain_is_paired_covers_and_is_narrower_than_unpaired() -> None:
    """The baseline sees the first of two features, the attack both."""
    k, means = 8, np.array([[-0.1, -0.05], [0.1, 0.05]])
    rng, gains, unpaired = np.random.default_rng(3), [], []
    truth_gain = norm.cdf(np.sqrt(k * 0.05) / np.sqrt(2)) - norm.cdf(np.sqrt(k * 0.04 / 2))
    for _ in range(GAMES):
        x = rng.normal(size=(1000, 2)) + np.repeat(means, 500, axis=0)
        truth = rng.integers(0, 2, 3000)
        units = batches(rng, 500, k, 3000) + 500 * truth[:, None]
        draws = Draws(units, np.repeat([0, 1], 500))
        sums = x[units].sum(axis=1)
        odds = [sums @ (means[1] - means[0]), sums[:, 0] * 0.2]
        both, first = (-np.logaddexp(0, np.column_stack([o, -o])) for o in odds)
        gains.append(gain(both, first, truth, draws))
        if len(gains) <= 20:
            alone = [auroc(answer, truth, draws) for answer in (both, first)]
            unpaired.append(np.hypot(*[e.high - e.low for e in alone]))
    assert 0.90 <= coverage(gains, truth_gain) <= 0.99
    assert np.mean([e.high - e.low for e in gains]) < 0.7 * np.mean(unpaired)


def test_a_guess_by_the_prior_has_the_width_of_the_classes_numbers() -> None:
    """Each class is wholly right or wrong: the variance within classes is 0, the figure's not."""
    rng, shares, lows = np.random.default_rng(4), [], []
    prior = np.array([0.8, 0.2])
    for _ in range(GAMES):
        truth = (rng.random(400) < 0.2).astype(np.int64)
        draws = Draws(batches(rng, 500, 2, 400) + 500 * truth[:, None], np.repeat([0, 1], 500))
        posterior = np.tile(prior, (400, 1))
        shares.append(asr(posterior, truth, draws))
        lows.append(bits(np.log(posterior), truth, prior, draws).low)
    assert 0.90 <= coverage(shares, 0.8) <= 0.99
    assert 0.90 <= np.mean(np.array(lows) <= 0) <= 0.99


def test_tpr_needs_ten_over_f_negatives_and_takes_the_stated_threshold() -> None:
    calibrate, truth = np.arange(200.0), np.arange(200) % 2  # negatives 0, 2, ..., 198
    draws = Draws(np.arange(200)[:, None], truth)
    assert tpr_at_fpr(calibrate, truth, calibrate, truth, draws, 0.09) is None
    found = tpr_at_fpr(calibrate, truth, calibrate, truth, draws, 0.1)
    assert found is not None
    tpr, attained = found
    assert attained.value == 0.1  # 180, ..., 198 exceed the threshold 178
    assert tpr.value == 0.11  # 179, ..., 199
    assert attained.low < 0.1 < attained.high
    assert (tpr.n, attained.n) == (100, 100)
    nobody = tpr_at_fpr(calibrate, truth, calibrate[::2], truth[::2], draws.take(truth == 0), 0.1)
    assert nobody is not None
    assert nobody[0].note == "undefined: no trial of class 1"


def test_the_attained_fpr_is_that_of_new_trials_and_both_intervals_cover() -> None:
    """A threshold from the challenge negatives would attain f in each game, with no spread."""
    rng, fpr = np.random.default_rng(0), 0.02
    truth = np.repeat([0, 1], 500)
    draws = Draws(np.arange(1000)[:, None], truth)
    rates, covered = [], []
    for _ in range(200):
        calibrate, scores = (rng.normal(size=1000) + truth for _ in range(2))
        found = tpr_at_fpr(calibrate, truth, scores, truth, draws, fpr)
        assert found is not None
        threshold = np.sort(calibrate[:500])[-11]  # its true rates, given the threshold:
        expected = norm.sf(threshold - 1), norm.sf(threshold)
        covered.append([e.low <= x <= e.high for e, x in zip(found, expected, strict=True)])
        rates.append(found[1].value)
    assert np.mean(rates) == pytest.approx(11 / 501, abs=0.002)  # the order statistic's mean
    assert np.std(rates) > 0.006
    assert (np.mean(covered, axis=0) >= 0.90).all()
