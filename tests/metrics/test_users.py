"""Users as the sample: one user a trial, a t-interval over them, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_batches import Floats, Game, Ints, Rng
from scipy.stats import norm

from leakage.errors import LeakageError
from leakage.metrics.attack import advantage, asr, balanced_accuracy, bits, by_class, worst_class
from leakage.metrics.intervals import Draws, Estimate, Variance, estimate_mean, estimate_share
from leakage.metrics.ordinal import median_error
from leakage.metrics.ranking import auroc, gain, tpr_at_fpr


def of_users(users: Ints, m: int) -> Draws:
    return Draws(users[:, None], np.arange(m), clustered=True)


def log_softmax(scores: Floats) -> Floats:
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def gaussian_users(rng: Rng, m: int, each: int, spread: float) -> Game:
    """m users with means N(0, spread^2) in four dimensions, who are told by the nearest mean."""
    means = rng.normal(size=(m, 4)) * spread
    truth = rng.integers(0, m, each * m)
    x = means[truth] + rng.normal(size=(len(truth), 4))
    scores = -((x[:, None] - means) ** 2).sum(axis=2) / 2
    return log_softmax(scores), truth, of_users(truth, m)


def beta_users(rng: Rng, m: int, each: int, a: float, b: float) -> Game:
    """Each user is told with a chance of its own, drawn from a Beta; errors name anyone else."""
    truth = rng.integers(0, m, each * m)
    right = rng.random(len(truth)) < rng.beta(a, b, m)[truth]
    answer = np.where(right, truth, (truth + rng.integers(1, m, len(truth))) % m)
    return (
        np.log(np.where(np.arange(m) == answer[:, None], 0.7, 0.3 / (m - 1))),
        truth,
        (of_users(truth, m)),
    )


def users_of_two_kinds(rng: Rng, m: int, each: int) -> Game:
    """The secret is the kind of the user, of which m/2 have each; users differ by N(0, 1)."""
    users = rng.integers(0, m, each * m)
    odds = (rng.normal(size=m) + np.arange(m) % 2)[users] + rng.normal(size=len(users)) - 0.5
    return log_softmax(np.column_stack([-odds, odds]) / 2), users % 2, of_users(users, m)


def equal_users(m: int, each: int, seed: int) -> Game:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(m), each)
    scores = rng.normal(size=(len(truth), m)) + np.eye(m)[truth]
    return log_softmax(scores), truth, of_users(truth, m)


def limits(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def test_draws_that_hold_no_user_or_several_are_refused_and_take_keeps_the_users() -> None:
    units = np.array([[0, 0, -1], [1, -1, -1], [2, 2, 2]])
    draws = Draws(units, np.arange(3), clustered=True)
    assert draws.unit().tolist() == [0, 1, 2]
    assert draws.take(np.array([0, 2])).clustered
    with pytest.raises(LeakageError, match="draw one unit alone, but 2 of 3 draw none or several"):
        Draws(np.array([[0, 1], [1, 1], [-1, -1]]), np.arange(3), clustered=True)


def test_as_many_trials_of_each_user_give_the_t_interval_of_the_users_means() -> None:
    """The secret is a quantity of two levels, not the user."""
    rng, m = np.random.default_rng(0), 10
    users = np.tile(np.arange(m), 30)
    truth = rng.integers(0, 2, len(users))
    wrong = rng.random(len(users)) < 0.2 + 0.04 * users
    log_posterior = np.log(np.where(np.arange(2) == (truth ^ wrong)[:, None], 0.9, 0.1))
    shares = np.array([wrong[users == u].mean() for u in range(m)])
    twin = Variance(shares.var(ddof=1) / m, m, m - 1)
    draws = of_users(users, m)
    right = asr(np.exp(log_posterior), truth, draws)
    expected = estimate_share(1 - shares.mean(), twin, 300, m)
    assert limits(right) == pytest.approx(limits(expected))
    error = median_error(log_posterior, truth, (0.0, 1.0), draws)
    assert limits(error) == pytest.approx(limits(estimate_mean(shares.mean(), twin, 1, m, 0, 1)))


def test_where_users_are_the_secret_success_is_jackknifed_without_each_user_in_turn() -> None:
    """The twin leaves out the user's trials and its column, one trial at a time."""
    m = 6
    log_posterior, truth, draws = equal_users(m, 9, seed=1)
    share, loss = [], []
    for u in range(m):
        rights, scores = [], []
        for row, a in zip(log_posterior, truth, strict=True):
            if a != u:
                left = {v: float(np.exp(row[v])) for v in range(m) if v != u}
                rights.append(max(left, key=lambda v: left[v]) == a)
                scores.append(np.log2(left[int(a)] / sum(left.values())))
        share.append(np.mean(rights))
        loss.append(np.mean(scores))
    spread = [(m - 1) ** 2 / m * np.var(x, ddof=1) for x in (share, loss)]
    found = asr(np.exp(log_posterior), truth, draws)
    expected = estimate_share(found.value, Variance(spread[0], m, m - 1), 54, m)
    assert limits(found) == pytest.approx(limits(expected))
    balanced = balanced_accuracy(np.exp(log_posterior), truth, draws)
    assert limits(balanced) == pytest.approx(limits(expected))  # as many trials of each
    information = bits(log_posterior, truth, np.full(m, 1 / m), draws)
    lost, reach = np.log2(m) - information.value, 2.015048 * np.sqrt(spread[1])  # t of 5
    assert information.low == pytest.approx(np.log2(m) - lost * np.exp(reach / lost), abs=1e-5)


def test_the_variance_of_auroc_is_that_of_the_users_in_all_ordered_pairs() -> None:
    m = 7
    log_posterior, truth, draws = equal_users(m, 5, seed=2)
    odds = log_posterior - np.log1p(-np.exp(log_posterior))
    pairs = np.full((m, m), np.nan)  # the chance that a scores higher than b as a
    for a in range(m):
        for b in set(range(m)) - {a}:
            pairs[a, b] = np.mean(odds[truth == a, a][:, None] > odds[truth == b, a])
    areas, theta = np.nanmean(pairs, axis=1), np.nanmean(pairs)
    added = [(areas[u] - theta + np.nanmean(pairs[:, u] - areas)) / m for u in range(m)]
    variance = Variance(m / (m - 1) * float(np.sum(np.square(added))), m, m - 1)
    expected = estimate_share(float(theta), variance, len(truth), m)
    found = auroc(log_posterior, truth, draws)
    assert found.value == pytest.approx(expected.value)
    assert limits(found) == pytest.approx(limits(expected))


@pytest.mark.parametrize("c", [2, 3])
def test_where_the_secret_is_a_trait_a_user_adds_what_one_copy_more_changes(c: int) -> None:
    """Each user has one of c values, four users a value; all trials are there 100 times."""
    rng, m, copies = np.random.default_rng(3), 4 * c, 100
    users = np.repeat(np.arange(m), rng.integers(3, 9, m))
    truth = users % c
    near = -1.5 * np.abs(truth[:, None] - np.arange(c))  # neighbours are mistaken more often
    log_posterior = log_softmax(rng.normal(size=(len(users), c)) + near)
    found = auroc(log_posterior, truth, of_users(users, m))
    changes = []
    for u in range(m):
        rows = np.concatenate([np.tile(np.arange(len(users)), copies), np.flatnonzero(users == u)])
        more = auroc(log_posterior[rows], truth[rows], of_users(users[rows], m)).value
        changes.append(copies * (more - found.value))
    variance = Variance(4 / 3 * float(np.sum(np.square(changes))), 4, 3)
    expected = estimate_share(found.value, variance, 1, 1)
    assert limits(found) == pytest.approx(limits(expected), rel=0.01)


def test_the_number_of_trials_of_a_user_is_no_error_where_all_are_right() -> None:
    m = 8
    truth = np.random.default_rng(0).integers(0, m, 100)
    posterior = np.where(np.arange(m) == truth[:, None], 0.93, 0.01)
    draws = of_users(truth, m)
    for found in (
        asr(posterior, truth, draws),
        balanced_accuracy(posterior, truth, draws),
        auroc(np.log(posterior), truth, draws),
    ):
        assert (found.value, found.low) == (pytest.approx(1), pytest.approx(0.05 ** (1 / m)))
    over_nothing = gain(np.log(posterior), np.full((100, m), np.log(1 / m)), truth, draws)
    assert over_nothing.low == pytest.approx(0.05 ** (1 / m) - 0.5)
    assert advantage(asr(posterior, truth, draws), np.full(m, 1 / m)).value == 1


def test_one_user_two_candidates_and_one_user_beside_several_have_no_interval() -> None:
    log_posterior, truth, draws = equal_users(3, 10, seed=0)
    for found in by_class(np.exp(log_posterior), truth, draws).values():
        assert found.note == "no interval: one user"
        assert np.isnan([found.low, found.high]).all()
    worst = worst_class(np.exp(log_posterior), truth, draws)
    assert worst.note in {f"class {a}; no interval: one user" for a in range(3)}
    log_posterior, truth, draws = equal_users(2, 10, seed=0)
    note = "no interval: without one user one candidate is left"
    assert asr(np.exp(log_posterior), truth, draws).note == note
    users = np.repeat([0, 1, 2], 10)
    log_posterior = log_softmax(np.random.default_rng(0).normal(size=(30, 2)))
    for metric in (auroc, lambda *args: gain(args[0], args[0][::-1], *args[1:])):
        found = metric(log_posterior, (users > 0).astype(np.int64), of_users(users, 3))
        assert found.note == "no interval: class 0 has one user"


def test_rates_of_users_of_two_kinds_rest_on_the_users_of_each() -> None:
    rng = np.random.default_rng(0)
    log_posterior, truth, draws = users_of_two_kinds(rng, 20, 30)
    odds = log_posterior[:, 1] - log_posterior[:, 0]
    found = tpr_at_fpr(odds, truth, odds, truth, draws, 0.1)
    assert found is not None
    flagged = odds > np.sort(odds[truth == 0])[-1 - int(0.1 * np.sum(truth == 0))]
    users = draws.unit()
    kind = [u for u in range(20) if u % 2]
    value = flagged[truth == 1].mean()
    residuals = [np.sum(flagged[users == u] - value) / np.sum(truth) for u in kind]
    variance = Variance(10 / 9 * float(np.sum(np.square(residuals))), 10, 9)
    assert limits(found[0]) == pytest.approx(limits(estimate_share(float(value), variance, 1, 1)))


@pytest.mark.parametrize(("m", "games"), [(8, 300), (30, 150)])
def test_coverage_over_users_told_with_chances_of_their_own(m: int, games: int) -> None:
    rng = np.random.default_rng(m)
    covered, wald = [], []
    for _ in range(games):
        log_posterior, truth, draws = beta_users(rng, m, 20, 8, 2)
        found = asr(np.exp(log_posterior), truth, draws)
        covered.append(found.low <= 0.8 <= found.high)
        reach = 1.96 * np.sqrt(found.value * (1 - found.value) / len(truth))
        wald.append(abs(found.value - 0.8) <= reach)
    assert 0.91 <= np.mean(covered) <= 0.99
    assert np.mean(wald) < 0.85


@pytest.mark.parametrize(("m", "games"), [(8, 300), (30, 100)])
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_coverage_over_users_who_are_mistaken_for_each_other(
    m: int, games: int, spread: float
) -> None:
    """Of asr, auroc and bits, about their means over games in which all users are drawn anew."""
    rng, found = np.random.default_rng(m), []
    for _ in range(games):
        log_posterior, truth, draws = gaussian_users(rng, m, 10, spread)
        share, area = asr(np.exp(log_posterior), truth, draws), auroc(log_posterior, truth, draws)
        found.append((share, area, bits(log_posterior, truth, np.full(m, 1 / m), draws)))
    means = np.mean([[e.value for e in game] for game in found], axis=0)
    highs = [[game[0].high, game[1].high, np.inf] for game in found]
    lows = [[e.low for e in game] for game in found]
    seen = ((lows <= means) & (means <= highs)).mean(axis=0)
    assert (seen >= 0.90).all()


@pytest.mark.parametrize(("m", "games"), [(8, 300), (30, 200)])
def test_coverage_where_the_secret_is_a_trait_of_the_user(m: int, games: int) -> None:
    rng, covered = np.random.default_rng(m), []
    for _ in range(games):
        log_posterior, truth, draws = users_of_two_kinds(rng, m, 20)
        share, area = asr(np.exp(log_posterior), truth, draws), auroc(log_posterior, truth, draws)
        expected = norm.cdf(0.5 / np.sqrt(2)), norm.cdf(1 / 2)  # total variance 2 a kind
        covered.append([e.low <= x <= e.high for e, x in zip((share, area), expected, strict=True)])
    assert (np.mean(covered, axis=0) >= 0.90).all()
