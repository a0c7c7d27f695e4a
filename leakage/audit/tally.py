"""The scores of the trials of each canary under each noise, over the rounds so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from leakage.audit.estimators.scores import Scores, normal_scores
from leakage.audit.rules import AuditRules
from leakage.audit.scoring import Floats, Linear
from leakage.defenses import Defense, at_sigma, dp_of
from leakage.errors import LeakageError
from leakage.randomness import numpy_generator


@dataclass
class Tally:
    """The trials of one canary under one noise, over the rounds so far.

    Args:
        canary: its name.
        is_record: whether it is a record, and not a gradient that no record need have.
        sigma: the noise multiplier, NaN without DP.
        zero: the summed scores of trials of the one neighbour, (n0,).
        one: those of the other, (n1,).
        variance: the summed variance of a linear score; 0 where the score is none.
        shift: the summed expected difference between the neighbours.
        distance: the sum of (||Delta|| / (sigma C))^2 over the rounds, NaN without DP.
        by_theory: whether theory says how scores are distributed, so that thresholds follow.
        foreseen: scores of as many made-up trials, where theory gives no closed form.
        certain: what tells the neighbours apart for certain, in words; empty where nothing does.
        alike: why no trial can tell them apart, in words; empty where one may.
        findings: what is not as M claims, in words.
    """

    canary: str
    is_record: bool
    sigma: float
    zero: Floats
    one: Floats
    variance: float = 0.0
    shift: float = 0.0
    distance: float = 0.0
    by_theory: bool = True
    foreseen: tuple[Floats, Floats] | None = None
    certain: str = ""
    alike: str = ""
    findings: set[str] = field(default_factory=set)

    @property
    def mu(self) -> float:
        """How far the scores of the neighbours lie apart, in standard deviations."""
        return self.shift / math.sqrt(self.variance) if self.variance > 0 else 0.0

    def expect(self, score: Linear) -> Linear:
        """Adds what theory says of the scores of one more round."""
        self.variance += score.variance
        self.shift += score.shift
        return score

    def foresee(self, zero: Floats, one: Floats) -> None:
        """Adds the scores of one more round of made-up trials."""
        before = self.foreseen or (np.zeros_like(self.zero), np.zeros_like(self.one))
        self.foreseen = before[0] + zero, before[1] + one

    @property
    def theory(self) -> Scores | None:
        """Scores as theory expects them; None where it says nothing, or that nothing shows."""
        if self.by_theory and self.foreseen is not None:
            return Scores(*self.foreseen)
        if self.by_theory and self.mu > 0:
            return normal_scores(self.mu, len(self.zero), len(self.one))
        return None

    @property
    def scores(self) -> Scores:
        """The scores, those of `zero` with mean 0 and variance 1 where they are linear."""
        scale = math.sqrt(self.variance) if self.variance > 0 else 1.0
        return Scores(self.zero / scale, self.one / scale)


def noises_of(rules: AuditRules, defense: Defense) -> dict[float | None, Defense]:
    """M at its own noise and at every other one that is asked for, in ascending order.

    Returns:
        M by its noise multiplier, None without DP.
    """
    dp = dp_of(defense)
    if dp is None and rules.sigmas:
        raise LeakageError(
            f"audit.sigmas: {rules.sigmas} are noise multipliers of DP, but the defense is"
            f" {defense.label}; leave them out, or use the defense DP"
        )
    if dp is None or dp.sigma is None:
        return {None: defense}
    noises = {sigma: at_sigma(defense, sigma) for sigma in rules.sigmas} | {dp.sigma: defense}
    return {sigma: noises[sigma] for sigma in sorted(noises)}


def tallies_of(rules: AuditRules, defense: Defense) -> dict[tuple[str, float | None], Tally]:
    """Empty tallies by canary and noise, with the coins of all trials, which stay in all rounds."""
    tallies: dict[tuple[str, float | None], Tally] = {}
    for sigma in noises_of(rules, defense):
        for canary in rules.hunted:
            generator = numpy_generator(rules.seed, "audit", "coins", canary.name, str(sigma))
            ones = int(generator.binomial(rules.trials, 0.5))
            tallies[canary.name, sigma] = Tally(
                canary.name,
                canary.has_record,
                math.nan if sigma is None else sigma,
                np.zeros(rules.trials - ones),
                np.zeros(ones),
                distance=0.0 if sigma else math.nan,
            )
    return tallies
