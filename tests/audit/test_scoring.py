"""Scores of releases against closed forms, a second way to compute them, and simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from leakage.audit.pilot import Pilot
from leakage.audit.scoring import (
    Sampled,
    gaussian_score,
    pilot_score,
    silent_score,
    whitened_score,
)
from leakage.audit.theory import Claim, exact_epsilon

P = 5
ZERO, ONE = torch.tensor([0.1, -0.2, 0.3, 0.0, 1.0]), torch.tensor([0.4, -0.2, -0.1, 0.0, 0.5])
DELTA = (ONE - ZERO).double()


def normal(mean: Tensor, std: float, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean.double() + std * torch.randn(n, P, generator=generator, dtype=torch.float64)


def blocks(releases: Tensor) -> Iterator[Tensor]:
    yield from releases.split(700)


def test_the_gaussian_score_is_the_log_likelihood_ratio_up_to_a_constant() -> None:
    std = 0.3
    releases = normal(ZERO, std, 50, seed=0)
    score = gaussian_score(ZERO, ONE, std)
    ratio = [
        stats.norm.logpdf(row, ONE.double(), std).sum()
        - stats.norm.logpdf(row, ZERO.double(), std).sum()
        for row in releases.numpy()
    ]
    assert score(blocks(releases)) == pytest.approx(np.array(ratio) + score.shift / 2, abs=1e-6)


def test_gaussian_scores_in_units_of_their_deviation_are_normal_with_the_mean_mu() -> None:
    sigma, clip, batch, n = 1.5, 0.7, 8, 40_000
    std = sigma * clip / batch
    score = gaussian_score(ZERO / batch, ONE / batch, std)
    mu = float(DELTA.norm()) / (sigma * clip)
    assert score.shift / math.sqrt(score.variance) == pytest.approx(mu, rel=1e-6)
    for mean, expected, seed in ((ZERO, 0.0, 1), (ONE, mu, 2)):
        found = score(blocks(normal(mean / batch, std, n, seed))) / math.sqrt(score.variance)
        assert stats.kstest(found, "norm", args=(expected, 1)).pvalue > 0.01


def test_scores_of_rounds_add_up_to_one_whose_mu_squared_is_the_sum_of_those_of_the_rounds() -> (
    None
):
    rounds, total = ((0.3, 1), (0.8, 2), (0.1, 3)), np.zeros(20_000)
    scores = [gaussian_score(ZERO, ONE, std) for std, _ in rounds]
    for score, (std, seed) in zip(scores, rounds, strict=True):
        total += score(blocks(normal(ONE, std, len(total), seed)))
    total /= math.sqrt(sum(score.variance for score in scores))
    mu = math.sqrt(sum((float(DELTA.norm()) / std) ** 2 for std, _ in rounds))
    assert stats.kstest(total, "norm", args=(mu, 1)).pvalue > 0.01


@pytest.mark.parametrize("q", [0.01, 0.5, 0.99])
def test_the_sampled_score_is_the_log_ratio_of_the_densities_of_two_mixtures(q: float) -> None:
    std, without = 0.4, torch.full((P,), 0.2)
    releases = normal(without, std, 60, seed=3)
    score = Sampled(without, ZERO, ONE, std, q)

    def density(row: np.ndarray, added: Tensor) -> float:
        absent = stats.norm.pdf(row, without.double(), std).prod()
        present = stats.norm.pdf(row, (without + added).double(), std).prod()
        return float((1 - q) * absent + q * present)

    plain = [math.log(density(r, ONE) / density(r, ZERO)) for r in releases.numpy()]
    assert score(blocks(releases)) == pytest.approx(np.array(plain), abs=1e-6)


def test_the_sampled_score_of_a_record_added_speaks_against_its_absence() -> None:
    std, without = 0.4, torch.zeros(P)
    score = Sampled(without, torch.zeros(P), ONE, std, 0.25)
    with_, bare = (score(blocks(normal(m, std, 2_000, 4))) for m in (ONE, without))
    assert with_.mean() > bare.mean()
    assert bare.min() >= math.log(0.75)  # no release speaks more against than the mixture allows


def test_the_whitened_score_is_the_solution_with_the_full_covariance() -> None:
    std, count = 0.3, 7
    others = normal(torch.arange(P).float(), 0.9, 30, seed=5).float()
    score = whitened_score(ZERO, ONE, std, others, count)
    S = std**2 * np.eye(P) + count * np.cov(others.double().numpy(), rowvar=False)
    v = np.linalg.solve(S, DELTA.numpy())
    assert score.direction.numpy() == pytest.approx(v, rel=1e-5)
    assert score.variance == pytest.approx(v @ S @ v, rel=1e-5)
    assert score.shift == pytest.approx(v @ DELTA.numpy(), rel=1e-5)


def test_the_whitened_score_tells_more_than_one_that_forgets_the_others() -> None:
    std, count = 0.05, 6
    spread = torch.tensor([2.0, 0.1, 0.1, 0.1, 0.1])
    generator = torch.Generator().manual_seed(6)
    others = torch.randn(400, P, generator=generator) * spread
    sums = torch.randn(4_000, count, P, generator=generator).mul(spread).sum(1)
    auroc = []
    for score in (
        whitened_score(ZERO, ONE, std, others, count),
        gaussian_score(ZERO, ONE, std),
    ):
        zero, one = (score(blocks(normal(m, 0, 4_000, 0) + sums)) for m in (ZERO, ONE))
        auroc.append(np.mean(zero[:, None] < one[np.newaxis, ::8]))
        if len(auroc) == 1:
            assert zero.var() == pytest.approx(score.variance, rel=0.2)
    assert auroc[0] > auroc[1] + 0.1


def test_with_others_that_are_all_alike_the_whitened_score_is_the_gaussian_one() -> None:
    plain, white = (
        gaussian_score(ZERO, ONE, 0.3),
        whitened_score(ZERO, ONE, 0.3, torch.ones(4, P), 3),
    )
    assert torch.allclose(plain.direction, white.direction)
    assert plain.variance == pytest.approx(white.variance)


def test_the_pilot_score_weighs_each_entry_by_its_own_variance() -> None:
    spread = torch.tensor([0.1, 1.0, 3.0, 0.5, 0.2]).double()
    zero, one = (
        mean.double() + (normal(torch.zeros(P), 1, 200_000, seed) * spread)
        for mean, seed in ((ZERO, 7), (ONE, 8))
    )
    score = pilot_score(zero, one)
    assert score.direction.numpy() == pytest.approx((DELTA / spread**2).numpy(), abs=0.3)
    mu = score.shift / math.sqrt(score.variance)
    assert mu == pytest.approx(float((DELTA / spread).norm()), rel=0.02)
    found = score(blocks(one))
    assert found.mean() == pytest.approx(score.shift, rel=1e-6)


def test_the_pilot_score_of_releases_that_did_not_vary_is_along_their_difference() -> None:
    score = pilot_score(ZERO.expand(4, P), ONE.expand(4, P))
    assert torch.allclose(score.direction / score.direction.norm(), DELTA / DELTA.norm())
    assert score(iter([ONE.unsqueeze(0)])) > score(iter([ZERO.unsqueeze(0)])) + 0.1


def test_the_silent_score_looks_at_nothing_but_entries_without_noise() -> None:
    silent = torch.tensor([False, False, True, False, True])
    score = silent_score(ZERO, ONE, silent)
    noisy = normal(torch.zeros(P), 100.0, 50, seed=9)
    for mean, expected in ((ZERO, 0.0), (ONE, 20.0)):
        releases = torch.where(silent, mean.double(), noisy)
        assert score(blocks(releases)) == pytest.approx(np.full(50, expected), abs=1e-5)


def test_a_pilot_tells_entries_that_never_vary_and_those_that_tell_neighbours_apart() -> None:
    noise = torch.arange(18.0).view(6, 3)
    zero, one = (
        torch.cat([noise, torch.full((6, 1), 2.0), torch.full((6, 1), last)], 1)
        for last in (0.0, 1.0)
    )
    pilot = Pilot(zero, one, draws=True)
    assert pilot.constant.tolist() == [False, False, False, True, True]
    assert pilot.silent.tolist() == [False, False, False, False, True]
    assert not pilot.deterministic
    same = torch.ones(6, 2)
    assert Pilot(same, same, draws=False).deterministic
    assert not Pilot(same, same, draws=True).deterministic  # it may vary another time


@pytest.mark.parametrize(
    ("sigma", "added", "replaced"),
    [(0.5, 9.997, 24.38), (1.0, 4.377, 9.997), (2.0, 1.993, 4.377), (4.0, 0.926, 1.993)],
)
def test_one_release_proves_the_published_epsilons(
    sigma: float, added: float, replaced: float
) -> None:
    claim = Claim(sigma, 1.0, 1, 1e-5)
    assert claim.epsilon("add_or_remove") == pytest.approx(added, abs=6e-4)
    assert claim.epsilon("replace_one") == pytest.approx(replaced, abs=6e-3)
    assert claim.epsilon("add_or_remove") == pytest.approx(exact_epsilon(1 / sigma, 1e-5))
    assert claim.epsilon("replace_one") == pytest.approx(exact_epsilon(2 / sigma, 1e-5))


@pytest.mark.parametrize(
    ("sigma", "q", "releases", "added", "replaced"),
    [
        (1.0, 0.01, 1000, 1.828, 2.843),
        (1.0, 0.1, 100, 7.047, 10.516),
        (2.0, 0.1, 100, 2.337, 4.368),
    ],
)
def test_sampled_rounds_prove_the_published_epsilons(
    sigma: float, q: float, releases: int, added: float, replaced: float
) -> None:
    claim = Claim(sigma, q, releases, 1e-5)
    assert claim.epsilon("add_or_remove") == pytest.approx(added, abs=2e-3)
    assert claim.epsilon("replace_one") == pytest.approx(replaced, abs=2e-3)


def test_rounds_in_which_all_take_part_prove_the_epsilon_of_one_with_less_noise() -> None:
    assert Claim(2.0, 1.0, 9, 1e-5).epsilon("replace_one") == pytest.approx(
        exact_epsilon(3.0, 1e-5)
    )


def test_gaussian_noise_keeps_no_epsilon_at_delta_zero() -> None:
    for adjacency in ("add_or_remove", "replace_one"):
        assert Claim(4.0, 0.1, 3, 0.0).epsilon(adjacency) == math.inf
    assert exact_epsilon(0.1, 0.0) == math.inf
    assert exact_epsilon(0.0, 0.0) == 0.0
