"""audit.csv: one row an epsilon; and the words and the table that an audit ends with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leakage.audit.results import CEILING, EXACT, PAIR, THEORY, Result
from leakage.audit.rules import AuditRules

_SLACK = 1e-3  # of what theory says, for rounding and for what PLD adds


@dataclass(frozen=True)
class EpsilonRow:
    """One epsilon with its limits.

    Args:
        round: epochs before the last release.
        step: optimizer steps before it.
        rounds: releases about the same records.
        secret: `membership`, or the attribute.
        k: records of a batch, the canary among them.
        background: whether the auditor knows the others.
        q: the chance with which the canary takes part in a release.
        defense: M with its settings.
        sigma: the noise multiplier; empty without DP.
        canary: its name; empty for what holds of all pairs.
        estimator: its name, or what else the figure is; see `Result`.
        metric: `epsilon`.
        delta: at which it is told.
        confidence: of each limit by itself.
        value: the figure without a margin; empty where there is none.
        low: the lower bound.
        low_jointly: the lower bound that holds together with those of all other valid rows.
        high: the most that this very test may show; empty where there is none.
        n0: trials of the neighbour zero.
        n1: trials of the neighbour one.
        valid: whether low holds at the confidence without further assumptions.
        headline: whether it was chosen as the figure to quote, before any trial.
        note: what the reader has to know.
    """

    round: int
    step: int
    rounds: int
    secret: str
    k: int
    background: str
    q: float
    defense: str
    sigma: float
    canary: str
    estimator: str
    metric: str
    delta: float
    confidence: float
    value: float
    low: float
    low_jointly: float
    high: float
    n0: int
    n1: int
    valid: bool
    headline: bool
    note: str


def epsilon_rows(
    results: Sequence[Result], rules: AuditRules, defense: str, delta: float, step: int
) -> list[EpsilonRow]:
    """The rows of all results.

    Args:
        results: of an audit.
        rules: its settings.
        defense: M with its settings, in words.
        delta: at which epsilon is told.
        step: optimizer steps before the last release.
    """
    return [
        EpsilonRow(
            max(rules.rounds),
            step,
            len(rules.rounds),
            rules.secret,
            rules.k,
            rules.background,
            rules.q,
            defense,
            result.sigma,
            result.canary,
            result.estimator,
            "epsilon",
            delta,
            rules.confidence,
            result.bound.value,
            result.bound.low,
            result.jointly,
            result.bound.high,
            result.n0,
            result.n1,
            result.valid,
            result.headline,
            result.note,
        )
        for result in results
    ]


def verdict(rows: Sequence[EpsilonRow], of_record: bool) -> list[str]:
    """What an audit found, in words: a line for each noise.

    Args:
        rows: of an audit.
        of_record: whether the neighbours differ by a record that is replaced.
    """
    said = []
    claim = THEORY["replace_one" if of_record else "add_or_remove"]
    for quoted in (row for row in rows if row.headline):
        mine = [row for row in rows if _same(row.sigma, quoted.sigma)]
        noise = "" if math.isnan(quoted.sigma) else f"sigma = {quoted.sigma:g}: "
        if quoted.estimator == PAIR:
            said.append(f"{noise}epsilon is infinite ({quoted.canary}): {quoted.note}")
            continue
        surely = f"{quoted.confidence:.0%} confidence, {quoted.canary}, {quoted.estimator}"
        beside = [
            f"{words} {found.value:.3f}"
            for words, found in (
                ("DP proves at most", _find(mine, "", claim)),
                ("this pair has", _find(mine, quoted.canary, EXACT)),
                ("so many trials show at most", _find(mine, quoted.canary, _most(quoted))),
            )
            if found is not None
        ]
        said.append(
            f"{noise}epsilon is at least {quoted.low:.3f} at delta = {quoted.delta:g} ({surely});"
            f" {', '.join(beside) or 'no theory tells the rest'}"
        )
        said += broken(mine, claim, noise)
    return said


def broken(rows: Sequence[EpsilonRow], claim: str, noise: str) -> list[str]:
    """What shows that M does not keep what it claims, in words.

    A pair whose sums lie too far apart before any noise, or a bound above what theory allows; of
    these many, the ones that hold jointly, so that an M that keeps its word is blamed with at most
    gamma.

    Args:
        rows: of one noise.
        claim: which theory.
        noise: it, in words.
    """
    proven = _find(rows, "", claim)
    if proven is None:
        return []
    most = proven.value * (1 + _SLACK)
    said = []
    far = [row for row in rows if row.estimator == EXACT and row.value > most]
    if far:
        worst = max(far, key=lambda row: row.value)
        said.append(
            f"{noise}THE GUARANTEE IS NOT KEPT: the sums of the pair {worst.canary} lie so far"
            f" apart that its epsilon is {worst.value:.3f}, above the {proven.value:.3f} that DP"
            f" would prove, so {worst.defense} does not bound what a record adds"
        )
    over = [row for row in rows if row.low_jointly > most]
    if over:
        worst = max(over, key=lambda row: row.low_jointly)
        said.append(
            f"{noise}THE GUARANTEE IS NOT KEPT: {worst.canary} by {worst.estimator} shows epsilon"
            f" of at least {worst.low_jointly:.3f} (all bounds of the audit at once), above the"
            f" {proven.value:.3f} that DP would prove, so the implementation of {worst.defense} is"
            f" wrong{f' ({worst.note})' if worst.note else ''}"
        )
    return said


def epsilon_table(rows: Sequence[EpsilonRow], told: Sequence[str]) -> str:
    """The table that an audit ends with on the terminal.

    Args:
        rows: of an audit.
        told: what else a reader has to know, a line each.
    """
    first = rows[0]
    header = ("sigma", "canary", "estimator", "epsilon >=", "estimate", "at most", "n0 + n1")
    lines = []
    for row in rows:
        if row.estimator.startswith(CEILING) or not (row.n0 or row.estimator == EXACT):
            continue
        ceiling = _find([r for r in rows if _same(r.sigma, row.sigma)], row.canary, _most(row))
        exact = row.estimator == EXACT
        lines.append(
            (
                "" if math.isnan(row.sigma) else f"{row.sigma:g}",
                row.canary,
                row.estimator + " *" * row.headline + " ?" * (not row.valid and not exact),
                "" if exact else f"{row.low:.3f}",
                _number(row.value),
                "" if ceiling is None else f"{ceiling.value:.3f}",
                "" if exact else f"{row.n0} + {row.n1}",
            )
        )
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    text = [
        "  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in (header, *lines)
    ]
    rule = "-" * max(map(len, text))
    releases = f"{first.rounds} release{'s' if first.rounds > 1 else ''}"
    title = (
        f"audit of {first.secret}, k = {first.k}, background {first.background}, {releases},"
        f" defense {first.defense}, delta = {first.delta:g}"
    )
    legend = (
        "*: the figure to quote, chosen before any trial; ?: under assumptions (column note); lower"
        f" bounds hold at {first.confidence:.0%}; exact: what this pair has to one who knows it"
    )
    return "\n".join([title, rule, *(line.rstrip() for line in text), rule, legend, *told])


def _find(rows: Sequence[EpsilonRow], canary: str, estimator: str) -> EpsilonRow | None:
    return next((r for r in rows if (r.canary, r.estimator) == (canary, estimator)), None)


def _most(row: EpsilonRow) -> str:
    return f"{CEILING}_{row.estimator}"


def _same(one: float, other: float) -> bool:
    """Whether two noises are one; NaN stands for none."""
    return one == other or (math.isnan(one) and math.isnan(other))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
