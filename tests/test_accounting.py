"""Epsilon, delta, mu and noise against published values, plain twins and each other."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm

from leakage.accounting.gaussian import gaussian_delta, gaussian_epsilon, gaussian_mu
from leakage.accounting.training import (
    Accountant,
    Adjacency,
    noise_multiplier,
    training_epsilon,
)
from leakage.errors import LeakageError

few = settings(max_examples=4)  # each takes seconds
some = settings(max_examples=25)


# --- one Gaussian release


@pytest.mark.parametrize(
    ("sigma", "added", "replaced"),
    [(0.5, 9.997, 24.38), (1, 4.377, 9.997), (2, 1.993, 4.377), (4, 0.926, 1.993)],
)
def test_epsilon_of_one_release_as_published(sigma: float, added: float, replaced: float) -> None:
    assert gaussian_epsilon(1 / sigma, 1e-5) == pytest.approx(added, abs=5e-4)
    assert gaussian_epsilon(2 / sigma, 1e-5) == pytest.approx(replaced, abs=5e-3)


@pytest.mark.parametrize(
    ("epsilon", "mu", "delta"),
    [(1.0, 1.0, 0.126936), (0.0, 1.0, 2 * norm.cdf(0.5) - 1)],  # the first from dp-accounting
)
def test_delta_as_published(epsilon: float, mu: float, delta: float) -> None:
    assert gaussian_delta(epsilon, mu) == pytest.approx(delta, abs=1e-6)


@some
@given(epsilon=st.floats(0, 5), mu=st.floats(0.05, 4))
def test_delta_is_the_mass_that_e_to_epsilon_does_not_cover(epsilon: float, mu: float) -> None:
    """The twin: the integral of (p - e^eps q)+ over N(mu, 1) and N(0, 1)."""
    start = epsilon / mu + mu / 2  # p > e^eps q above it
    mass, _ = integrate.quad(
        lambda x: norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x), start, start + 15
    )
    assert gaussian_delta(epsilon, mu) == pytest.approx(mass, abs=1e-9)


@some
@given(mu=st.floats(0, 1e6), delta=st.floats(1e-300, 1 - 1e-12))
def test_epsilon_covers_delta_and_no_less_does(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    assert 0 <= epsilon < math.inf
    assert gaussian_delta(epsilon, mu) <= delta * (1 + 1e-6)
    if 1e-6 < epsilon < 1e3:
        assert gaussian_delta(epsilon * (1 - 1e-6), mu) >= delta * (1 - 1e-6)


@some
@given(mu=st.floats(1e-3, 1e3), delta=st.floats(1e-12, 0.5))
def test_mu_is_the_inverse_of_epsilon(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    if epsilon > 1e-9:
        assert gaussian_mu(epsilon, delta) == pytest.approx(mu, rel=1e-6)
    else:  # the greatest mu that delta alone covers
        assert gaussian_mu(0.0, delta) >= mu * (1 - 1e-6)
        assert gaussian_epsilon(gaussian_mu(0.0, delta) * (1 - 1e-9), delta) == 0


@some
@given(mu=st.floats(0, 50), more=st.floats(1, 3), delta=st.floats(1e-9, 0.1))
def test_epsilon_rises_with_mu_and_falls_with_delta(mu: float, more: float, delta: float) -> None:
    assert gaussian_epsilon(mu, delta) <= gaussian_epsilon(more * mu, delta) + 1e-9
    assert gaussian_epsilon(mu, more * delta) <= gaussian_epsilon(mu, delta) + 1e-9


@pytest.mark.parametrize("delta", [1e-300, 1e-10, 1e-5, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("sigma", [1e-5, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e5])
def test_epsilon_is_that_of_dp_accounting(sigma: float, delta: float) -> None:
    theirs = dp_accounting.get_epsilon_gaussian(sigma, delta)
    assert gaussian_epsilon(1 / sigma, delta) == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def test_the_ends_of_mu() -> None:
    assert gaussian_epsilon(math.inf, 1e-5) == math.inf
    assert gaussian_epsilon(0.0, 1e-5) == 0
    assert gaussian_epsilon(1e200, 1e-5) == math.inf
    assert gaussian_epsilon(1e-300, 1e-5) == 0
    assert gaussian_delta(3.0, math.inf) == 1
    assert gaussian_delta(math.inf, 3.0) == 0
    assert gaussian_mu(math.inf, 1e-5) == math.inf


# --- all of training


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "added", "replaced"),
    [
        (1, 0.01, 1000, 1.828, 2.843),
        (1, 0.1, 100, 7.047, 10.516),
        (2, 0.1, 100, 2.337, 4.368),
    ],
)
def test_pld_as_published(
    sigma: float, q: float, steps: int, added: float, replaced: float
) -> None:
    assert training_epsilon(sigma, q, steps, 1e-5) == pytest.approx(added, abs=1e-3)
    assert training_epsilon(sigma, q, steps, 1e-5, adjacency="replace_one") == pytest.approx(
        replaced, abs=1.5e-3
    )


@pytest.mark.parametrize(
    ("accountant", "epsilon", "near"),
    [("rdp", 7.329, 1e-3), ("prv", 6.777, 4e-3), ("pld", 6.769, 1e-3)],
)
def test_the_accountants_as_published(accountant: Accountant, epsilon: float, near: float) -> None:
    found = training_epsilon(1.5, 0.04, 90 * 25, 1e-5, accountant)
    assert found == pytest.approx(epsilon, abs=near)
    assert found > 6.60 + 0.1  # the central limit says less than is true


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta"),
    [
        (1, 0.01, 1000, 1e-5),
        (0.5, 0.001, 100, 1e-6),
        (100, 1e-4, 10**5, 1e-8),
        (5, 0.01, 10**5, 1e-6),
    ],
)
def test_the_grid_is_as_good_as_a_finer_one(
    sigma: float, q: float, steps: int, delta: float
) -> None:
    """dp-accounting's own step of 1e-4 is far too coarse for the third."""
    deviation = q * math.sqrt(math.expm1(1 / sigma**2))
    accountant = pld.PLDAccountant(value_discretization_interval=deviation / 10)
    step = dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
    found = training_epsilon(sigma, q, steps, delta)
    assert found == pytest.approx(accountant.get_epsilon(delta), rel=2e-3)


def test_one_sampled_step_against_its_integral() -> None:
    """delta(eps) of (1-q) N(0) + q N(1) beside N(0), both ways, by quadrature."""
    sigma, q, delta = 1.0, 0.1, 1e-4
    epsilon = training_epsilon(sigma, q, 1, delta)

    def uncovered(x: float, way: int) -> float:
        without = norm.pdf(x, 0, sigma)
        with_it = (1 - q) * without + q * norm.pdf(x, 1, sigma)
        pair = (with_it, without)[::way]
        return max(0.0, pair[0] - math.exp(epsilon) * pair[1])

    masses = [
        integrate.quad(uncovered, -10, 12, args=(way,), limit=500, points=[2, 3, 4])[0]
        for way in (1, -1)
    ]
    assert max(masses) == pytest.approx(delta, rel=2e-3)


EDGES = [
    (10.0, 0.001, 1, 1e-3),
    (0.3, 0.25, 200, 1e-5),
    (1.0, 1.0, 10, 1e-5),
    (1.0, 1e-300, 1000, 1e-12),
    (1.0, 1e-12, 10**6, 1e-7),
    (10.0, 1e-6, 1000, 1e-8),
    (30.0, 0.5, 10, 1e-7),
    (0.01, 0.5, 100, 1e-5),
    (0.01, 1e-5, 10, 1e-5),
    (1e-6, 0.1, 10, 1e-5),
    (1.0, 1 - 1e-12, 10, 1e-5),
    (1.0, 0.01, 100, 1e-30),
    (1.0, 0.01, 100, 0.999),
]


@pytest.mark.parametrize("accountant", ["pld", "rdp", "prv"])
@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), EDGES)
def test_an_edge_gives_an_epsilon_of_at_least_0_and_no_noise_in_the_log(
    sigma: float,
    q: float,
    steps: int,
    delta: float,
    accountant: Accountant,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        epsilon = training_epsilon(sigma, q, steps, delta, accountant)
    assert 0 <= epsilon < math.inf
    assert caplog.records == []
    unsampled = gaussian_epsilon(math.sqrt(steps) / sigma, delta)
    assert accountant == "rdp" or epsilon <= unsampled  # sampling cannot hurt


@pytest.mark.parametrize("accountant", ["pld", "rdp", "prv"])
def test_no_noise_is_infinite_and_no_step_is_nothing(accountant: Accountant) -> None:
    assert training_epsilon(0.0, 0.1, 10, 1e-5, accountant) == math.inf
    assert training_epsilon(1e-200, 0.1, 10, 1e-5, accountant) == math.inf
    assert training_epsilon(0.0, 0.1, 0, 1e-5, accountant) == 0
    assert training_epsilon(1.0, 0.1, 0, 1e-5, accountant) == 0


def test_a_record_that_is_all_but_never_drawn_is_not_told_too_small() -> None:
    """Drawn with 1e-4 in all, it then stands 100 deviations out: PRV by itself would say 749."""
    once = gaussian_epsilon(100.0, 0.1) + math.log(1e-5)
    for accountant in ("pld", "prv"):
        assert training_epsilon(0.01, 1e-5, 10, 1e-5, accountant) >= once * (1 - 1e-3)


@pytest.mark.parametrize("adjacency", ["add_or_remove", "replace_one"])
def test_a_full_batch_is_exact(adjacency: Adjacency) -> None:
    mu = math.sqrt(9) / 2 * (2 if adjacency == "replace_one" else 1)
    found = training_epsilon(2.0, 1.0, 9, 1e-5, adjacency=adjacency)
    assert found == gaussian_epsilon(mu, 1e-5)
    nearly = training_epsilon(2.0, 1 - 1e-9, 9, 1e-5, adjacency=adjacency)
    assert nearly == pytest.approx(found, rel=1e-3)


@few
@given(
    sigma=st.floats(0.4, 20),
    q=st.floats(1e-4, 0.9),
    steps=st.integers(1, 300),
    more=st.floats(1.01, 2),
)
def test_epsilon_falls_with_noise_and_rises_with_sampling_and_steps(
    sigma: float, q: float, steps: int, more: float
) -> None:
    found = training_epsilon(sigma, q, steps, 1e-6)
    slack = found * 1e-3 + 1e-9
    assert training_epsilon(more * sigma, q, steps, 1e-6) <= found + slack
    assert training_epsilon(sigma, min(1.0, more * q), steps, 1e-6) >= found - slack
    assert training_epsilon(sigma, q, 2 * steps, 1e-6) >= found - slack
    assert training_epsilon(sigma, q, steps, 1e-6, adjacency="replace_one") >= found - slack
    assert training_epsilon(sigma, q, steps, 1e-6, "rdp") >= found - slack


# --- the noise for a target


@pytest.mark.parametrize(
    ("epsilon", "delta", "q", "steps"),
    [
        (8.0, 1e-5, 0.04, 2250),
        (1.0, 1e-5, 0.01, 1000),
        (0.1, 1e-5, 0.01, 1000),
        (50.0, 1e-5, 0.1, 100),
        (8.0, 1e-5, 1.0, 100),
    ],
)
def test_the_noise_keeps_the_target_and_little_less_would_not(
    epsilon: float, delta: float, q: float, steps: int
) -> None:
    sigma = noise_multiplier(epsilon, delta, q, steps)
    assert training_epsilon(sigma, q, steps, delta) <= epsilon
    assert training_epsilon(sigma / 1.001, q, steps, delta) > epsilon


def test_the_noise_for_epsilon_8_lies_just_below_that_of_prv() -> None:
    sigma = noise_multiplier(8.0, 1e-5, 0.04, 2250)
    assert sigma == pytest.approx(1.3462, abs=2e-3)
    assert sigma < 1.3477 < 1.416


def test_a_target_that_asks_for_nothing_has_the_least_noise() -> None:
    assert noise_multiplier(1e9, 1e-5, 0.01, 1000) == 0.01
    assert noise_multiplier(1.0, 1e-5, 1.0, 0) == 0.01
    assert noise_multiplier(1.0, 1e-2, 1e-4, 100) == 0.01


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(LeakageError) as refusal:
        noise_multiplier(1e-6, 1e-5, 0.01, 1000)
    assert str(refusal.value) == (
        "defense.epsilon: a target of 1e-06 at delta = 1e-05 needs a sigma above 10000 over 1000"
        " steps at a sampling rate of 0.01; the least in reach is about 5.6e-06: raise the target,"
        " train for fewer steps or on more records"
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: training_epsilon(1, 0.1, 1, 0.0), "delta: a number in (0, 1) is needed, got 0.0"),
        (lambda: training_epsilon(1, 0.1, 1, 1.0), "delta: a number in (0, 1) is needed, got 1.0"),
        (
            lambda: training_epsilon(1, 0.1, 1, math.nan),
            "delta: a number in (0, 1) is needed, got nan",
        ),
        (
            lambda: training_epsilon(1, 0.0, 1, 0.1),
            "q: a sampling rate in (0, 1] is needed, got 0.0",
        ),
        (
            lambda: training_epsilon(1, 1.5, 1, 0.1),
            "q: a sampling rate in (0, 1] is needed, got 1.5",
        ),
        (
            lambda: training_epsilon(1, 0.1, -1, 0.1),
            "steps: a number of at least 0 is needed, got -1",
        ),
        (
            lambda: training_epsilon(-1, 0.1, 1, 0.1),
            "sigma: a finite number of at least 0 is needed, got -1",
        ),
        (
            lambda: training_epsilon(math.inf, 0.1, 1, 0.1),
            "sigma: a finite number of at least 0 is needed, got inf",
        ),
        (
            lambda: training_epsilon(1, 0.1, 1, 0.1, "rdp", adjacency="replace_one"),
            "adjacency: the accountant rdp knows records added or removed alone, and replace_one"
            " would be told too small; take pld",
        ),
        (
            lambda: training_epsilon(1, 0.1, 1, 0.1, "prv", adjacency="replace_one"),
            "adjacency: the accountant prv knows records added or removed alone, and replace_one"
            " would be told too small; take pld",
        ),
        (
            lambda: noise_multiplier(0.0, 1e-5, 0.1, 1),
            "defense.epsilon: a target above 0 is needed, got 0.0",
        ),
        (lambda: gaussian_epsilon(-1, 0.1), "mu: a number of at least 0 is needed, got -1"),
        (lambda: gaussian_delta(-1, 1), "epsilon: a number of at least 0 is needed, got -1"),
        (lambda: gaussian_mu(math.nan, 0.1), "epsilon: a number of at least 0 is needed, got nan"),
    ],
)
def test_a_refusal_says_what_is_allowed(call: Callable[[], float], sentence: str) -> None:
    with pytest.raises(LeakageError) as refusal:
        call()
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1, 0.9])
@pytest.mark.parametrize("epsilon", [1e-300, 1e-20, 1e-16])
def test_the_mu_of_next_to_no_epsilon_is_that_of_none(epsilon: float, delta: float) -> None:
    assert gaussian_mu(epsilon, delta) == pytest.approx(gaussian_mu(0.0, delta), rel=1e-6)
