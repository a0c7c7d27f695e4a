"""What DP proves of a secret holds in the game against adversaries that come close to it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from populations import LINEAR, LinearLoss, linear_game, pick, play, population
from scipy import stats
from torch import Tensor

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.adversaries import LogisticRegression, NearestMean
from leakage.defenses import DP, Chain, Defense, Pruning, Sign
from leakage.knowledge import INFORMATION
from leakage.metrics.information import entropy_bits, gaussian_bits
from leakage.metrics.intervals import Estimate
from leakage.metrics.view import NO_GUARANTEE, NO_PROOF, SIDE, Proof, information_view
from leakage.population import SPLITS, Population
from leakage.secrets import Attribute, Distribution, Membership, Property, Secret, User

CLIP = 0.5


def farthest_apart(n: int = 12_000, seed: int = 0, features: int = 3) -> Population:
    """Records whose gradients are +C e and -C e by their value of a: nothing tells more."""
    codes = torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed))
    x = torch.zeros(n, features)
    generator = torch.Generator().manual_seed(seed + 1)
    x[:, 0] = (codes - 0.5) * (10 + torch.rand(n, generator=generator))  # far beyond C
    return population(x, codes)


def test_noise_in_many_directions_hides_no_more_than_in_few() -> None:
    """Who knows where gradients lie before the noise loses nothing to all other directions."""
    generator = torch.Generator().manual_seed(9)
    narrow = farthest_apart(features=800)
    turn = torch.linalg.qr(torch.randn(800, 800, generator=generator)).Q
    x = narrow.features @ turn  # the one direction is in all entries
    records = population(x, narrow.traits["a"].codes)
    defense = DP(CLIP, 64, 4.0)
    game = linear_game(k=4, shadow_batches=200)
    graded = play(game, records, LinearLoss(800), defense)
    found = pick(graded, LINEAR.name, knowledge="adaptive").figures["auroc"]
    assert abs(found.value - stats.norm.cdf(2 / math.sqrt(2))) < 0.02
    blind = replace(game, adversaries=[LogisticRegression(reduce="f_test")])
    drowned = pick(play(blind, records, LinearLoss(800), defense), LINEAR.name, "alone", "adaptive")
    assert drowned.figures["auroc"].value < found.value - 0.02


def view_of(records: Population, defense: Defense, played: int = 1, **settings: Any) -> Any:
    """The view after some rounds, and the adversary that knows of the defense."""
    game = linear_game(rounds=list(range(played)), **settings)
    graded = play(game, records, LinearLoss(3), defense, rounds=played)
    summed = "sum" if played > 1 else "alone"
    return pick(graded, INFORMATION, summed).figures, pick(graded, LINEAR.name, summed, "adaptive")


@pytest.mark.parametrize(("sigma", "k"), [(16.0, 4), (8.0, 4), (4.0, 4), (4.0, 1)])
def test_the_best_adversary_comes_close_to_what_dp_proves_and_never_beyond(
    sigma: float, k: int
) -> None:
    view, attack = view_of(farthest_apart(), DP(CLIP, 64, sigma), k=k)
    mu = 2 * k / sigma
    assert view["asr_ceiling"].value == pytest.approx(stats.norm.cdf(mu / 2))
    assert view["auroc_ceiling"].value == pytest.approx(stats.norm.cdf(mu / math.sqrt(2)))
    assert view["bits_ceiling"].value == pytest.approx(gaussian_bits(mu), abs=1e-6)
    figures = attack.figures
    assert figures["auroc"].low <= view["auroc_ceiling"].value <= figures["auroc"].high
    assert abs(figures["asr"].value - view["asr_ceiling"].value) < 0.03
    assert view["bits_floor"].value <= view["bits_ceiling"].value
    assert abs(figures["bits_raw"].value - view["bits_ceiling"].value) < 0.05
    least = view["error_floor"].value
    assert least == pytest.approx(1 - stats.norm.cdf(mu / 2))  # here tighter than Fano
    assert figures["asr"].low <= 1 - least


def test_rounds_add_up_in_the_ceiling_as_in_the_attack() -> None:
    view, attack = view_of(farthest_apart(), DP(CLIP, 64, 16.0), played=3, k=4)
    mu = 8 / 16 * math.sqrt(3)
    assert view["auroc_ceiling"].value == pytest.approx(stats.norm.cdf(mu / math.sqrt(2)))
    assert abs(attack.figures["auroc"].value - view["auroc_ceiling"].value) < 0.03
    record = view["epsilon_release_record"]
    assert record.value == pytest.approx(gaussian_epsilon(math.sqrt(3) / 16, 1e-5))
    assert record.note == "one record added or removed, 3 releases, delta = 1e-05"
    secret = view["epsilon_release_secret"]
    assert secret.value == pytest.approx(gaussian_epsilon(mu, 1e-5))
    assert secret.note == "the secret changed: 4 records replaced, 3 releases, delta = 1e-05"


def test_what_follows_dp_keeps_its_ceiling() -> None:
    defense = Chain([DP(CLIP, 64, 8.0), Sign()])
    view, attack = view_of(farthest_apart(), defense, k=4)
    assert view["auroc_ceiling"].value == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)))
    assert attack.figures["auroc"].low <= view["auroc_ceiling"].value


def test_a_proportion_has_the_ceiling_of_its_steps() -> None:
    secret = Distribution("a", "a1", [0.0, 0.5, 1.0])
    view, attack = view_of(farthest_apart(), DP(CLIP, 64, 4.0), secret=secret, k=4)
    assert view["entropy"].value == pytest.approx(math.log2(3))
    assert attack.figures["asr"].low <= view["asr_ceiling"].value < 1
    assert view["bits_floor"].value <= view["bits_ceiling"].value
    # Of three points on a line, mu = 1 apart, nobody does better than by their midpoints.
    best = (2 * stats.norm.cdf(0.5) + (2 * stats.norm.cdf(0.5) - 1)) / 3
    assert view["asr_ceiling"].value == pytest.approx(best)
    assert abs(attack.figures["asr"].value - best) < 0.03


def test_without_a_proof_there_is_no_bound_from_above() -> None:
    view, attack = view_of(farthest_apart(), Pruning(0.5), k=4)
    for name in ("bits_ceiling", "error_floor"):
        assert math.isnan(view[name].value)
        assert view[name].note == NO_PROOF
    assert not {"asr_ceiling", "epsilon_release_secret"} & view.keys()
    assert view["entropy"].value == 1
    assert view["bits_floor"].value == attack.figures["bits"].low > 0.9
    assert view["bits_fano"].value > 0.9


def test_no_noise_is_no_guarantee() -> None:
    view, _ = view_of(farthest_apart(), DP(CLIP, 64, 0.0), k=4)
    assert view["bits_ceiling"].value == 1
    assert view["bits_ceiling"].note == NO_GUARANTEE
    assert view["error_floor"].value == 0
    assert view["epsilon_release_record"].value == math.inf


def test_who_knows_the_records_is_under_no_ceiling_of_the_secret() -> None:
    secret = Attribute("a", "target")
    codes = torch.arange(12_000) % 2
    x = torch.zeros(12_000, 3)
    x[:, 0] = codes * 1.0
    records = population(x, codes, one_hot=(0,))
    view, _ = view_of(records, DP(CLIP, 64, 1.0), secret=secret, k=4)
    for name in ("bits_floor", "bits_fano", "bits_ceiling", "error_floor"):
        assert math.isnan(view[name].value)  # what phi(z) tells is no leak of the release
        assert view[name].note == SIDE
    assert "asr_ceiling" not in view
    assert view["epsilon_release_secret"].note.startswith("the secret changed: 1 record replaced")


def hamming(k: int, c: int) -> Tensor:
    return k * (1 - torch.eye(c, dtype=torch.int64))


@pytest.mark.parametrize(
    ("secret", "c", "expected"),
    [
        (Attribute("a"), 3, hamming(8, 3)),
        (Attribute("a", "target"), 3, hamming(1, 3)),
        (Property("a"), 2, hamming(8, 2)),
        (Property("a", "any", "a1", "one"), 2, hamming(1, 2)),
        (Property("a", "any", "a1", "uniform"), 2, hamming(8, 2)),
        (Property("a", "any", "a1", "natural"), 2, hamming(8, 2)),
        (
            Distribution("a", "a1", [0.0, 0.25, 1.0]),
            3,
            torch.tensor([[0, 2, 8], [2, 0, 6], [8, 6, 0]]),
        ),
        (Distribution("a", "a1", [0.0, 1.0], "random"), 2, hamming(8, 2)),
        (Membership(), 2, hamming(1, 2)),
        (Membership("worst"), 2, hamming(1, 2)),
        (User(candidates=4), 4, hamming(8, 4)),
    ],
    ids=repr,
)
def test_each_secret_says_how_many_records_it_changes(
    secret: Secret, c: int, expected: Tensor
) -> None:
    assert torch.equal(secret.changed(8, c), expected)


def figures(asr: float, low: float, bits: float) -> dict[str, Estimate]:
    return {
        "asr": Estimate(asr, low, 1.0, 1000, 500),
        "bits": Estimate(bits, bits, math.nan, 1000, 500, "one-sided"),
    }


def test_fano_turns_an_error_into_bits_and_bits_into_an_error() -> None:
    prior = np.full(4, 0.25)
    view = information_view("A", figures(0.9, 0.85, 1.1), prior, 1, None)
    h = -(0.15 * math.log2(0.15) + 0.85 * math.log2(0.85))
    assert view["bits_fano"].value == pytest.approx(2 - h - 0.15 * math.log2(3))
    assert view["bits_floor"].value == 1.1
    assert view["bits_floor"].note == "proven by A, one-sided 95%"
    proof = Proof(10.0, 1e-5, 1 - np.eye(4, dtype=np.int64))
    bound = information_view("A", figures(0.3, 0.25, 0.0), prior, 1, proof)
    error, bits = bound["error_floor"].value, bound["bits_ceiling"].value
    assert 0 < bits < entropy_bits(prior)
    assert 0.5 < error <= 0.75
    assert bound["asr_ceiling"].value >= 0.25


def test_an_attack_without_an_interval_proves_nothing() -> None:
    nothing = {
        "asr": Estimate(0.9, math.nan, math.nan, 1000, 5, "no interval: few"),
        "bits": Estimate(0.5, math.nan, math.nan, 1000, 5, "no interval: few"),
    }
    view = information_view("A", nothing, np.full(2, 0.5), 1, None)
    assert math.isnan(view["bits_floor"].value)
    assert view["bits_floor"].note == "no interval: few"
    assert math.isnan(view["bits_fano"].value)


def test_others_who_are_strangers_to_a_user_change_with_the_user() -> None:
    generator = torch.Generator().manual_seed(0)
    units = torch.arange(48 * 200) // 200
    directions = 10 * torch.nn.functional.normalize(torch.randn(48, 8, generator=generator))
    records = population(directions[units], units % 2)
    ends = [0, 1, 2, 3, 25, 44, 47]
    spans = zip(SPLITS, pairwise(ends), strict=True)
    splits = {name: torch.arange(low * 200, high * 200) for name, (low, high) in spans}
    records = replace(records, units=units, splits=splits)
    secret = User(candidates=2, enrolment=20, queries=20)
    game = linear_game(secret=secret, k=2, others=60, adversaries=[NearestMean()])
    game = replace(game, shadow_batches=300, calibrate_batches=300, trials=1000)
    graded = play(game, records, LinearLoss(8), DP(CLIP, 64, 8.0))
    view = pick(graded, INFORMATION).figures
    attack = pick(graded, "NearestMean", knowledge="adaptive").figures
    assert attack["asr"].value > 0.7  # more than the two records of the client could tell
    assert attack["asr"].value <= view["asr_ceiling"].value
    assert attack["auroc"].value <= view["auroc_ceiling"].value
    assert view["epsilon_release_secret"].note.startswith("the secret changed: 62 records")
