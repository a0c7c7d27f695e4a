"""What DP proves of a secret: closed forms, plain twins, and adversaries that come close."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from scipy.stats import norm

from leakage.metrics.guarantee import (
    auroc_ceiling,
    error_floor,
    information_ceiling,
    secret_mu,
    success_ceiling,
)
from leakage.metrics.information import entropy_bits, gaussian_bits
from leakage.metrics.intervals import Floats

BIT = np.array([0.5, 0.5])


def equal(c: int, mu: float) -> Floats:
    """The matrix of c values that are all as far apart."""
    return mu * (1 - np.eye(c))


def on_a_line(places: list[float]) -> Floats:
    return np.abs(np.subtract.outer(places, places)).astype(np.float64)


def twin_success(mus: Floats, prior: Floats) -> float:
    """The maximum over the simplex by a general solver, for each value of reference."""
    found = []
    for b in range(len(prior)):

        def earned(x: Floats, b: int = b) -> float:
            x = np.clip(x, 1e-15, 1 - 1e-15)
            return float(prior @ norm.cdf(norm.ppf(x) + mus[b]))

        best = max(
            -optimize.minimize(
                lambda x: -earned(x),
                start,
                method="SLSQP",
                bounds=[(0, 1)] * len(prior),
                constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
                options={"ftol": 1e-12, "maxiter": 500},
            ).fun
            for start in (np.full(len(prior), 1 / len(prior)), prior)
        )
        found.append(best)
    return min(found)


def test_a_secret_that_moves_h_records_has_2_h_root_rounds_over_sigma() -> None:
    changed = np.array([[0, 4, 8], [4, 0, 4], [8, 4, 0]])
    assert secret_mu(changed, 2.0, 9) == pytest.approx(3.0 * changed)
    assert secret_mu(changed, 2.0, 0) == pytest.approx(0.0 * changed)
    assert np.array_equal(secret_mu(changed, 0.0, 1), np.where(changed > 0, np.inf, 0))
    assert np.array_equal(secret_mu(changed, 0.0, 0), np.zeros((3, 3)))


@pytest.mark.parametrize("mu", [0.0, 1e-12, 0.25, 0.5, 1.0, 2.0, 4.0, 30.0])
def test_a_uniform_bit_has_the_published_ceilings(mu: float) -> None:
    assert success_ceiling(equal(2, mu), BIT) == pytest.approx(norm.cdf(mu / 2), abs=1e-9)
    assert auroc_ceiling(equal(2, mu)) == pytest.approx(norm.cdf(mu / np.sqrt(2)), abs=1e-12)
    assert information_ceiling(equal(2, mu), BIT) == pytest.approx(gaussian_bits(mu), abs=1e-12)


@pytest.mark.parametrize(
    ("mu", "bits"), [(0.25, 0.0112), (0.5, 0.0437), (1, 0.1607), (2, 0.4859), (4, 0.9128)]
)
def test_the_bits_of_the_notes(mu: float, bits: float) -> None:
    assert information_ceiling(equal(2, mu), BIT) == pytest.approx(bits, abs=5e-5)


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5], [1.0, 0.0], [0, 1, 0]])
def test_at_chance_and_certainty(prior: list[float]) -> None:
    p = np.array(prior, dtype=np.float64)
    c, entropy = len(p), entropy_bits(p)
    with np.errstate(invalid="ignore"):
        infinite = np.where(np.eye(c) > 0, 0.0, np.inf)
    for mus, success, auroc, bits in (
        (np.zeros((c, c)), p.max(), 0.5, 0.0),
        (infinite, 1.0, 1.0, entropy),
        (equal(c, 1e200), 1.0, 1.0, entropy),
    ):
        assert success_ceiling(mus, p) == pytest.approx(success, abs=1e-12)
        assert auroc_ceiling(mus) == auroc
        assert information_ceiling(mus, p) == pytest.approx(bits, abs=1e-12)
        assert error_floor(mus, p) == pytest.approx(1 - success, abs=1e-12)


def test_values_that_no_record_tells_apart_are_guessed_by_the_prior() -> None:
    """Two of three values release the same; the third is seen: P(0) + the greater of the others."""
    mus = np.array([[0, np.inf, np.inf], [np.inf, 0, 0], [np.inf, 0, 0]])
    assert success_ceiling(mus, np.array([0.2, 0.5, 0.3])) == pytest.approx(0.7)


@given(c=st.integers(2, 9), mu=st.floats(0, 20))
def test_a_uniform_secret_stays_below_the_looser_published_ceiling(c: int, mu: float) -> None:
    ceiling = success_ceiling(equal(c, mu), np.full(c, 1 / c))
    assert 1 / c - 1e-12 <= ceiling <= norm.cdf(norm.ppf(1 / c) + mu) + 1e-9


secrets = st.integers(2, 5).flatmap(
    lambda c: st.tuples(
        st.lists(st.floats(0.02, 1), min_size=c, max_size=c),
        st.lists(st.floats(0, 3), min_size=c, max_size=c),
    )
)


@settings(max_examples=15)
@given(secret=secrets)
def test_success_is_what_a_general_solver_finds(secret: tuple[list[float], list[float]]) -> None:
    weights, places = secret
    prior, mus = np.array(weights) / sum(weights), on_a_line(places)
    ceiling = success_ceiling(mus, prior)
    twin = max(twin_success(mus, prior), float(prior.max()))
    assert twin - 1e-7 <= ceiling <= twin + 2e-3  # the solver may stop short, the ceiling may not


def test_success_is_what_a_grid_finds() -> None:
    prior, mu = np.array([0.5, 0.3, 0.2]), np.array([[0, 1, 2], [1, 0, 1.5], [2, 1.5, 0.0]])
    x, y = np.meshgrid(np.linspace(0, 1, 801), np.linspace(0, 1, 801))
    shares = np.stack([x, y, 1 - x - y], axis=-1)[x + y <= 1 + 1e-12].clip(0, 1)
    found = [(norm.cdf(norm.ppf(shares) + mu[b], 0, 1) * prior).sum(-1).max() for b in range(3)]
    assert success_ceiling(mu, prior) == pytest.approx(min(found), abs=2e-5)


@given(secret=secrets, more=st.floats(1, 3))
def test_more_mu_never_lowers_a_ceiling(
    secret: tuple[list[float], list[float]], more: float
) -> None:
    weights, places = secret
    prior, mus = np.array(weights) / sum(weights), on_a_line(places)
    assert success_ceiling(mus, prior) <= success_ceiling(more * mus, prior) + 1e-9
    assert auroc_ceiling(mus) <= auroc_ceiling(more * mus)
    assert information_ceiling(mus, prior) <= information_ceiling(more * mus, prior) + 1e-9
    assert error_floor(mus, prior) >= error_floor(more * mus, prior) - 1e-9
    assert prior.max() <= success_ceiling(mus, prior) <= 1
    assert 0 <= information_ceiling(mus, prior) <= entropy_bits(prior)


@pytest.mark.parametrize("prior", [0.5, 0.8, 0.03])
@pytest.mark.parametrize("mu", [0.5, 1.0, 3.0])
def test_the_best_guess_of_a_bit_attains_success_and_area(mu: float, prior: float) -> None:
    rng, n = np.random.default_rng(0), 400_000
    p = np.array([1 - prior, prior])
    a = rng.random(n) < prior
    score = rng.normal(size=n) + mu * a
    guess = mu * (score - mu / 2) + np.log(prior / (1 - prior)) > 0
    assert (guess == a).mean() == pytest.approx(success_ceiling(equal(2, mu), p), abs=4e-3)
    above = rng.normal(size=n) + mu > rng.normal(size=n)
    assert above.mean() == pytest.approx(auroc_ceiling(equal(2, mu)), abs=4e-3)


def bits_on_a_line(places: list[float], prior: Floats) -> float:
    """I(a; a place + N(0, 1)) by quadrature: the entropy of the mixture less that of the noise."""

    def density(x: float) -> float:
        return float(prior @ norm.pdf(x - np.array(places)))

    def surprise(x: float) -> float:
        return -density(x) * np.log2(density(x))

    ends = min(places) - 12, max(places) + 12
    whole = integrate.quad(surprise, *ends, points=sorted(set(places)), limit=500)[0]
    return whole - 0.5 * np.log2(2 * np.pi * np.e)


@pytest.mark.parametrize("prior", [0.5, 0.8, 0.03])
@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0, 8.0])
def test_the_information_of_a_bit_is_that_of_its_channel(mu: float, prior: float) -> None:
    p = np.array([1 - prior, prior])
    assert information_ceiling(equal(2, mu), p) == pytest.approx(
        bits_on_a_line([0.0, mu], p), abs=1e-6
    )
    assert gaussian_bits(mu, prior) == pytest.approx(gaussian_bits(mu, 1 - prior), abs=1e-9)


@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
@pytest.mark.parametrize(
    ("places", "prior"),
    [
        ([0.0, 1.0, 2.0], [1 / 3, 1 / 3, 1 / 3]),
        ([0.0, 0.2, 3.0], [0.1, 0.2, 0.7]),
        ([0.0, 1.0, 2.0, 3.0, 4.0], [0.2] * 5),
    ],
)
def test_values_on_a_line_stay_below_the_ceilings(
    places: list[float], prior: list[float], scale: float
) -> None:
    p, at = np.array(prior), [scale * place for place in places]
    mus = on_a_line(at)
    assert bits_on_a_line(at, p) <= information_ceiling(mus, p) + 1e-9
    best, _ = integrate.quad(
        lambda x: float(np.max(p * norm.pdf(x - np.array(at)))), -12, max(at) + 12, limit=500
    )
    assert best <= success_ceiling(mus, p) + 1e-9
    assert 1 - best >= error_floor(mus, p) - 1e-9


@pytest.mark.parametrize("c", [3, 5])
@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_values_on_a_simplex_come_close_to_the_ceilings(c: int, mu: float) -> None:
    """Means mu e_a / sqrt 2 are mu apart: the farthest that c values can be from one another."""
    rng, n, p = np.random.default_rng(1), 200_000, np.full(c, 1 / c)
    a = rng.integers(c, size=n)
    x = rng.normal(size=(n, c))
    x[np.arange(n), a] += mu / np.sqrt(2)
    log = mu / np.sqrt(2) * x  # of the densities, up to what all share
    log -= np.logaddexp.reduce(log, axis=1, keepdims=True)
    asr = (log.argmax(1) == a).mean()
    bits = np.log2(c) + (log[np.arange(n), a] / np.log(2)).mean()
    ceiling, most = success_ceiling(equal(c, mu), p), information_ceiling(equal(c, mu), p)
    assert asr <= ceiling + 4e-3
    assert asr - 1 / c >= 0.6 * (ceiling - 1 / c)  # what is above chance is mostly reached
    assert bits <= most + 4e-3
    if mu <= 1:
        assert bits >= 0.75 * most - 4e-3  # Jung's ball is this simplex
    one, rest = log[a == 0, 0], log[a != 0, 0]
    m = min(len(one), len(rest))
    assert (one[:m] > rest[:m]).mean() <= auroc_ceiling(equal(c, mu)) + 5e-3


def test_the_least_error_of_a_bit_is_exact() -> None:
    assert error_floor(equal(2, 1.0), BIT) == pytest.approx(norm.cdf(-0.5), abs=1e-9)
    skewed = np.array([0.9, 0.1])
    assert error_floor(equal(2, 0.1), skewed) == pytest.approx(0.1, abs=1e-9)
