"""The information-theoretic view of one defense: what is proven of a secret, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leakage.accounting.gaussian import gaussian_epsilon
from leakage.metrics.guarantee import (
    auroc_ceiling,
    error_floor,
    information_ceiling,
    secret_mu,
    success_ceiling,
)
from leakage.metrics.information import entropy_bits, information_floor
from leakage.metrics.intervals import Estimate, Floats, Ints

NO_PROOF = "no proven upper bound: the defense is not differentially private"
SIDE = "nothing follows for the release alone: the adversary knows phi(z) beside it"
NO_GUARANTEE = "no guarantee for this secret: the bound allows all of it"


@dataclass(frozen=True)
class Proof:
    """What a Gaussian mechanism on clipped sums proves of one release.

    Args:
        sigma: the noise multiplier, at least 0.
        delta: at which an epsilon is told.
        changed: records by which batches of two values of the secret differ, (c, c).
    """

    sigma: float
    delta: float
    changed: Ints


def information_view(
    adversary: str,
    figures: Mapping[str, Estimate],
    prior: Floats,
    releases: int,
    proof: Proof | None,
    side: bool = False,
) -> dict[str, Estimate]:
    """What is known of I(a; g~) and of the error, in bits and shares.

    From an attack: `bits_floor`, the lower limit of H(a) + E log2 q, and `bits_fano`, that of
    H(a) - h(Pe) - Pe log2(c-1) at the upper limit of its error Pe (Fano 1961). From a proof alone:
    `bits_ceiling`, `asr_ceiling`, `auroc_ceiling`, and `error_floor`, the least error of anybody.
    And `epsilon_release_record`, `epsilon_release_secret`, of so many releases.

    Args:
        adversary: who attacks; chosen before its figures here were seen.
        figures: its own, by metric.
        prior: P(a), (c,).
        releases: that it saw of one batch or client.
        proof: what M proves; None where it proves nothing.
        side: whether the adversary knows phi(z) beside the release: what it gets is then no floor
            of I(a; g~), and no bound on it follows; the epsilons hold.
    """
    entropy, c, n = entropy_bits(prior), len(prior), figures["asr"].n
    units = figures["asr"].units

    def exact(value: float, note: str = "") -> Estimate:
        return Estimate(value, np.nan, np.nan, n, units, note)

    floor = figures["bits"]
    error = 1 - figures["asr"].low
    fano = np.nan if np.isnan(error) else information_floor(error, entropy, c)
    told = f"proven by {adversary}, one-sided 95%"
    view = {
        "entropy": exact(entropy, "H(a)"),
        "bits_floor": exact(floor.low, told if not np.isnan(floor.low) else floor.note),
        "bits_fano": exact(fano, f"{told}, from its error alone (Fano)"),
    }
    if side:
        view |= {name: exact(np.nan, SIDE) for name in ("bits_floor", "bits_fano")}
    if proof is None or side:
        why = SIDE if side else NO_PROOF
        view |= {name: exact(np.nan, why) for name in ("bits_ceiling", "error_floor")}
    if proof is None:
        return view
    mus = secret_mu(proof.changed, proof.sigma, releases)
    if not side:
        bits, success = information_ceiling(mus, prior), success_ceiling(mus, prior)
        note = NO_GUARANTEE if bits >= entropy - 1e-9 else ""
        least = error_floor(mus, prior)
        view |= {
            "bits_ceiling": exact(bits, note),
            "error_floor": exact(least, note),
            "asr_ceiling": exact(success),
            "auroc_ceiling": exact(auroc_ceiling(mus)),
        }
    one = np.sqrt(releases) / proof.sigma if proof.sigma else np.inf
    of = f"{releases} release{'s' if releases > 1 else ''}, delta = {proof.delta:g}"
    h = int(proof.changed.max())
    return view | {
        "epsilon_release_record": exact(
            gaussian_epsilon(float(one), proof.delta), f"one record added or removed, {of}"
        ),
        "epsilon_release_secret": exact(
            gaussian_epsilon(float(mus.max()), proof.delta),
            f"the secret changed: {h} record{'s' if h > 1 else ''} replaced, {of}",
        ),
    }
