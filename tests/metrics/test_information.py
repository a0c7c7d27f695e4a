"""Information and error: closed forms, inverses, and the figures of the notes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakage.metrics.information import (
    entropy_bits,
    fano_error_floor,
    gaussian_bits,
    information_floor,
)

steady = settings(deadline=None, derandomize=True)


def test_entropy_of_known_priors() -> None:
    assert entropy_bits(np.full(8, 1 / 8)) == pytest.approx(3, abs=1e-12)
    assert entropy_bits(np.array([1.0, 0.0])) == 0
    assert entropy_bits(np.array([0.9, 0.1])) == pytest.approx(0.468996, abs=1e-6)


@pytest.mark.parametrize(
    ("d", "bits"), [(0.25, 0.0112), (0.5, 0.0437), (1, 0.1607), (2, 0.4859), (4, 0.9128)]
)
def test_gaussian_bits_of_the_notes(d: float, bits: float) -> None:
    assert gaussian_bits(d) == pytest.approx(bits, abs=5e-5)
    assert gaussian_bits(-d) == pytest.approx(gaussian_bits(d), abs=1e-12)


def test_gaussian_bits_at_chance_and_certainty() -> None:
    assert gaussian_bits(0) == pytest.approx(0, abs=1e-12)
    assert gaussian_bits(60) == pytest.approx(1, abs=1e-12)


def test_gaussian_bits_is_the_mean_of_one_minus_the_posterior_entropy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1_000_000) + 0.75
    q = 1 / (1 + np.exp(-1.5 * x))
    entropy = -(q * np.log2(q) + (1 - q) * np.log2(1 - q))
    assert gaussian_bits(1.5) == pytest.approx(1 - entropy.mean(), abs=2e-3)


@steady
@given(c=st.integers(2, 9), share=st.floats(0, 1))
def test_the_two_directions_of_fano_are_inverse(c: int, share: float) -> None:
    entropy = float(np.log2(c))
    error = fano_error_floor(share * entropy, entropy, c)
    assert 0 <= error <= 1 - 1 / c
    assert information_floor(error, entropy, c) == pytest.approx(share * entropy, abs=1e-6)


@steady
@given(weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_fano_at_its_ends_under_a_skewed_prior(weights: list[float]) -> None:
    prior = np.array(weights) / sum(weights)
    entropy, c = entropy_bits(prior), len(prior)
    assert information_floor(0, entropy, c) == pytest.approx(entropy)
    assert information_floor(1, entropy, c) == pytest.approx(0, abs=1e-9)
    assert fano_error_floor(entropy, entropy, c) == 0
    assert fano_error_floor(0, entropy, c) <= 1 - prior.max() + 1e-9  # guessing reaches that


def test_fano_holds_for_a_channel_whose_information_is_known() -> None:
    """A bit flipped with chance e: I = 1 - h(e), the error is e, and Fano is tight."""
    for e in (0.01, 0.11, 0.4):
        information = 1 - entropy_bits(np.array([e, 1 - e]))
        assert fano_error_floor(information, 1, c=2) == pytest.approx(e, abs=1e-9)
        assert information_floor(e, 1, c=2) == pytest.approx(information, abs=1e-9)
