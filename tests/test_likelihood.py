"""The likelihood ratio beside the exact Gaussian test, which knows the mean and the covariance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from leakage.adversaries import (
    Adversary,
    BoostedTrees,
    LikelihoodRatio,
    LogisticRegression,
    RandomForest,
    Surface,
)
from leakage.adversaries.views import CountSketch, Whole
from leakage.gradients.layout import Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Released = Callable[[Floats], Floats]


def surface_of(m: int, k: int) -> Surface:
    return Surface(Layout(("w",), ((m,),)), 2, (), m, averaged=k, paired=True)


class World:
    """Records N(mu, S) whose principal variances lie apart by e^(2 spread), typically.

    Args:
        m: entries of a record.
        k: records of a mean.
        spread: of the logarithm of the deviations along the axes.
        one: whether all targets are the same record.
    """

    def __init__(self, m: int, k: int, spread: float = 1.0, *, one: bool = False) -> None:
        self._rng = np.random.default_rng(0)
        axes = np.linalg.qr(self._rng.standard_normal((m, m)))[0]
        self._mix = np.exp(spread * self._rng.standard_normal(m))[:, None] * axes
        self._mu, self._m, self._k = 3 * self._rng.standard_normal(m), m, k
        self._only = self._records(1) if one else None

    def _records(self, n: int) -> Floats:
        return np.asarray(self._mu + self._rng.standard_normal((n, self._m)) @ self._mix)

    def draw(self, n: int, released: Released = lambda means: means) -> tuple[Floats, Ints]:
        """Rows [release | target] (n, 2m), and whether the target is in (n,)."""
        values = self._rng.permutation(np.arange(n) % 2)
        targets = self._records(n) if self._only is None else np.repeat(self._only, n, axis=0)
        batches = np.stack([self._records(n) for _ in range(self._k)])  # (k, n, m)
        batches[0, values == 1] = targets[values == 1]
        return np.concatenate([released(batches.mean(0)), targets], axis=1), values

    def exact(self, rows: Floats) -> Floats:
        """log N(mu + (g_z - mu) / k, (k - 1) / k^2 S) - log N(mu, S / k) but for a constant."""
        release, target = (np.split(rows, 2, axis=1)[i] - self._mu for i in (0, 1))
        inverse = np.linalg.inv(self._mix.T @ self._mix)
        k = self._k
        outside = k * np.einsum("ni,ij,nj->n", release, inverse, release)
        rest = release - target / k
        inside = k**2 / (k - 1) * np.einsum("ni,ij,nj->n", rest, inverse, rest)
        return np.asarray(outside - inside) / 2


def auroc(
    adversary: Adversary, world: World, m: int, k: int, *, n: int = 1500,
    released: Released = lambda means: means,
) -> tuple[float, float]:  # fmt: skip
    """Of the adversary on 3,000 trials, and of the exact test on the same."""
    rows, values = world.draw(n, released)
    scores = adversary.fit(rows.astype(np.float32), values, surface_of(m, k), seed=0)
    seen, asked = world.draw(3000, released)
    found = scores(seen.astype(np.float32))
    best = roc_auc_score(asked, world.exact(seen)) if k > 1 else 1.0
    return float(roc_auc_score(asked, found[:, 1] - found[:, 0])), float(best)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("m", "k"), [(5, 4), (20, 16), (60, 16)])
def test_it_finds_what_the_exact_test_finds(m: int, k: int, spread: float) -> None:
    found, best = auroc(LikelihoodRatio(), World(m, k, spread), m, k)
    assert best - 0.03 < found < best + 0.01


def test_few_releases_beside_their_entries_cost_little() -> None:
    found, best = auroc(LikelihoodRatio(), World(150, 32), 150, 32, n=400)
    assert best - 0.08 < found < best


def test_a_target_that_is_always_the_same_is_found_too() -> None:
    found, best = auroc(LikelihoodRatio(), World(20, 8, one=True), 20, 8)
    assert best - 0.03 < found < best + 0.01


@pytest.mark.parametrize("m", [1, 20])
@pytest.mark.parametrize("n", [60, 1000])
def test_a_mean_of_one_is_its_record(m: int, n: int) -> None:
    found, _ = auroc(LikelihoodRatio(), World(m, 1), m, 1, n=n)
    assert found > 0.999


def test_releases_that_have_nothing_of_the_target_are_chance() -> None:
    rng = np.random.default_rng(0)
    found, _ = auroc(
        LikelihoodRatio(), World(20, 4), 20, 4, released=lambda g: rng.standard_normal(g.shape)
    )
    assert abs(found - 0.5) < 0.03


def test_a_release_on_another_scale_tells_as_much() -> None:
    plain, _ = auroc(LikelihoodRatio(), World(20, 8), 20, 8)
    scaled, _ = auroc(LikelihoodRatio(), World(20, 8), 20, 8, released=lambda g: 100 * g)
    assert scaled == pytest.approx(plain, abs=1e-3)


def test_signs_of_entries_with_scales_of_their_own_are_read_entry_by_entry() -> None:
    """One scale for all would leave .87 where each of its own finds .93."""
    m, k = 50, 8
    rng = np.random.default_rng(0)
    size = np.exp(2 * rng.standard_normal(m))

    def draw(n: int) -> tuple[NDArray[np.float32], Ints]:
        values = rng.permutation(np.arange(n) % 2)
        batches = rng.standard_normal((k, n, m)) * size
        targets = rng.standard_normal((n, m)) * size
        batches[0, values == 1] = targets[values == 1]
        rows = np.concatenate([np.sign(batches.mean(0)), targets], axis=1)
        return rows.astype(np.float32), values

    scores = LikelihoodRatio().fit(*draw(1500), surface_of(m, k), seed=0)
    seen, asked = draw(3000)
    assert roc_auc_score(asked, scores(seen)[:, 1]) > 0.91


def test_entries_that_never_change_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    values = np.arange(400) % 2
    rows = np.zeros((400, 8), dtype=np.float32)
    rows[:, [0, 4]] = rng.normal(size=(400, 2))
    rows[values == 1, 0] = rows[values == 1, 4] / 3 + rows[values == 1, 0] / 2
    for dead in ([], [4, 5, 6, 7], range(8)):
        given = rows.copy()
        given[:, list(dead)] = 1.0
        scores = LikelihoodRatio().fit(given, values, surface_of(4, 3), seed=0)(given)
        assert np.isfinite(scores).all()
        assert (scores[:, 0] == 0).all()


@pytest.mark.parametrize(
    "adversary",
    [LogisticRegression(), RandomForest(trees=60), BoostedTrees(iterations=30)],
    ids=lambda a: a.name,
)
def test_a_classifier_sees_how_two_halves_go_together(adversary: Adversary) -> None:
    """No entry tells anything alone: without the comparisons a linear model is at chance."""
    found, best = auroc(adversary, World(20, 4, 0.0), 20, 4)
    assert best - 0.1 < found < best + 0.01


def test_halves_are_never_chosen_by_entry() -> None:
    few, many = surface_of(50, 4), surface_of(5000, 4)
    assert LikelihoodRatio().view(few, seed=1) == Whole()
    for adversary in (LikelihoodRatio(), RandomForest(reduce="f_test")):
        assert adversary.view(many, seed=1) == CountSketch(1024, 1)
