"""What an audit concludes from the scores of its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leakage.accounting.training import Adjacency
from leakage.audit.estimators.base import Bound, Estimator
from leakage.audit.names import CEILING, EXACT, PAIR, THEORY
from leakage.audit.rules import AuditRules
from leakage.audit.tally import Tally
from leakage.audit.theory import Claim, exact_epsilon
from leakage.randomness import numpy_generator


@dataclass(frozen=True)
class Result:
    """One epsilon of an audit.

    Args:
        canary: its name; empty for what holds of all pairs.
        sigma: the noise multiplier, NaN without DP.
        estimator: its name; `theory_...` what DP proves of all pairs, `exact` what this pair has
            under the declared noise to one who knows it (E0), `pair` a pair that M, which draws no
            noise, tells apart for certain or not at all, `ceiling_...` the most that an estimator
            could say of so many trials.
        bound: the figure.
        n0: trials of the neighbour zero.
        n1: trials of the neighbour one.
        valid: whether it is a lower bound at its confidence without further assumptions; None
            where it is no bound.
        headline: whether it was chosen as the figure to quote, before any trial.
        note: what the reader has to know.
        jointly: the lower bound that holds together with those of all other valid rows, NaN where
            it is none: gamma is divided by their number (Bonferroni).
        finding: what is not as M claims, seen before any trial, in words.
    """

    canary: str
    sigma: float
    estimator: str
    bound: Bound
    n0: int = 0
    n1: int = 0
    valid: bool | None = None
    headline: bool = False
    note: str = ""
    jointly: float = math.nan
    finding: str = ""


def conclude(
    tallies: Sequence[Tally], rules: AuditRules, delta: float, final: bool
) -> list[Result]:
    """All figures of an audit, noise by noise.

    Args:
        tallies: of every canary under every noise.
        rules: the settings.
        delta: at which epsilon is told.
        final: whether the noise of DP is the last thing that happens to a release.
    """
    results: list[Result] = []
    told = sum(judge.valid for judge in rules.judges) * sum(
        not (t.certain or t.alike) for t in tallies
    )
    for sigma in dict.fromkeys(tally.sigma for tally in tallies):  # NaN is one and the same object
        mine = [tally for tally in tallies if tally.sigma is sigma or tally.sigma == sigma]
        if sigma > 0:
            claim = Claim(sigma, rules.q, len(rules.rounds), delta)
            results += [
                _exactly(name, claim.epsilon(adjacency), sigma, _about(rules, adjacency))
                for adjacency, name in THEORY.items()
            ]
        best = _headline(mine)
        for tally in mine:
            results += _of_pair(tally, rules, delta, final, tally is best, told)
    return results


def _headline(tallies: Sequence[Tally]) -> Tally:
    """The canary to quote: told apart for certain, else the record that stands farthest apart.

    Distances are those of sums without noise, so that no trial has a say in the choice.
    """
    certain = [tally for tally in tallies if tally.certain]
    records = [tally for tally in tallies if tally.is_record]
    return max(
        certain or records or tallies, key=lambda t: t.mu if math.isnan(t.distance) else t.distance
    )


def planned(
    tally: Tally, rules: AuditRules, delta: float
) -> tuple[list[Estimator], Estimator | None]:
    """The estimators with all that is settled before any trial, and the one to quote."""
    judges, theory = rules.judges, tally.theory
    if theory is not None:
        judges = [judge.planned(theory, delta, rules.gamma) for judge in judges]
        worth = [
            judge.expected(theory, delta, rules.gamma) if judge.valid else -1.0 for judge in judges
        ]
        best = judges[int(np.argmax(worth))]
        return judges, best if best.valid else None
    return judges, next((judge for judge in judges if judge.valid), None)


def _of_pair(
    tally: Tally, rules: AuditRules, delta: float, final: bool, quoted: bool, told: int
) -> list[Result]:
    """The figures of one canary under one noise; `told` valid bounds are told of the audit."""
    n0, n1 = len(tally.zero), len(tally.one)
    if tally.certain or tally.alike:
        exactly = math.inf if tally.certain else 0.0
        bound, note = Bound(exactly, exactly, exactly, ""), tally.certain or tally.alike
        return [Result(tally.canary, tally.sigma, PAIR, bound, 1, 1, True, quoted, note)]
    results = []
    if not math.isnan(tally.distance) and rules.q == 1:
        epsilon = exact_epsilon(math.sqrt(tally.distance), delta)
        note = "under the declared noise"
        if not final:
            note += ", before what follows it, which can only lose of it"
        results.append(_exactly(EXACT, epsilon, tally.sigma, note, tally.canary))
    judges, best = planned(tally, rules, delta)
    for judge in judges:

        def bound_at(gamma: float, judge: Estimator = judge) -> Bound:
            rng = numpy_generator(rules.seed, "audit", tally.canary, str(tally.sigma), judge.name)
            return judge.bound(tally.scores, delta, gamma, rng)

        bound = bound_at(rules.gamma)
        jointly = bound_at(rules.gamma / told).low if judge.valid else math.nan
        headline = quoted and judge is best
        notes = filter(None, (judge.assumption, bound.note))
        results.append(
            Result(
                tally.canary,
                tally.sigma,
                judge.name,
                bound,
                n0,
                n1,
                judge.valid,
                headline,
                "; ".join(notes),
                jointly,
                "; ".join(sorted(tally.findings)),
            )
        )
        most = judge.ceiling(n0, n1, delta, rules.gamma)
        note = "the most that it says of so many trials"
        results.append(_exactly(f"{CEILING}_{judge.name}", most, tally.sigma, note, tally.canary))
    return results


def _exactly(name: str, epsilon: float, sigma: float, note: str, canary: str = "") -> Result:
    return Result(canary, sigma, name, Bound(epsilon, math.nan, math.nan, ""), note=note)


def _about(rules: AuditRules, adjacency: Adjacency) -> str:
    r = len(rules.rounds)
    what = "one record replaced" if adjacency == "replace_one" else "one record added or removed"
    sampled = "" if rules.q == 1 else f", each of chance q = {rules.q:g} (PLD)"
    return f"{what}, {r} release{'s' if r > 1 else ''}{sampled}"
