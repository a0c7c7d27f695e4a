"""audit.csv: one row an epsilon; and the table that an audit ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakage.audit.names import CEILING, EXACT

if TYPE_CHECKING:
    from leakage.audit.results import Result
    from leakage.audit.rules import AuditRules


@dataclass(frozen=True)
class EpsilonRow:
    """One epsilon with its limits.

    Args:
        round: epochs before the last release.
        step: optimizer steps before it.
        rounds: releases about the same records.
        secret: `membership`, or the attribute.
        values: the two that the canary has; empty for membership.
        k: records of a batch, the canary among them.
        background: whether the auditor knows the others.
        q: the chance with which the canary takes part in a release.
        defense: M with its settings.
        sigma: the noise multiplier; empty without DP.
        canary: its name; empty for what holds of all pairs.
        estimator: its name, or what else the figure is; see `Result`.
        metric: `epsilon`.
        delta: at which it is told.
        confidence: of each limit by itself; empty where the figure is exact.
        value: the figure without a margin; empty where there is none.
        low: the lower bound.
        low_jointly: the lower bound that holds together with those of all other valid rows.
        high: the most that this very test may show; empty where there is none.
        n0: trials of the neighbour zero.
        n1: trials of the neighbour one.
        valid: whether low holds at the confidence without further assumptions; empty where there
            is no bound.
        headline: whether it was chosen as the figure to quote, before any trial.
        note: what the reader has to know.
        finding: what is not as M claims, seen before any trial.
    """

    round: int
    step: int
    rounds: int
    secret: str
    values: str
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
    valid: bool | None
    headline: bool
    note: str
    finding: str


def epsilon_rows(
    results: Sequence[Result],
    rules: AuditRules,
    values: Sequence[str],
    defenses: Mapping[str, str],
    delta: float,
    step: int,
) -> list[EpsilonRow]:
    """The rows of all results.

    Args:
        results: of an audit.
        rules: its settings.
        values: the two of the attribute; none for membership.
        defenses: by the noise, as text, M with its settings in words.
        delta: at which epsilon is told.
        step: optimizer steps before the last release.
    """
    bounds = {judge.name for judge in rules.judges}
    return [
        EpsilonRow(
            max(rules.rounds),
            step,
            len(rules.rounds),
            rules.secret,
            " | ".join(values),
            rules.k,
            rules.background,
            rules.q,
            defenses[str(result.sigma)],
            result.sigma,
            result.canary,
            result.estimator,
            "epsilon",
            delta,
            rules.confidence if result.estimator in bounds else math.nan,
            result.bound.value,
            result.bound.low,
            result.jointly,
            result.bound.high,
            result.n0,
            result.n1,
            result.valid,
            result.headline,
            result.note,
            result.finding,
        )
        for result in results
    ]


def epsilon_table(rows: Sequence[EpsilonRow], told: Sequence[str]) -> str:
    """The table that an audit ends with on the terminal.

    Args:
        rows: of an audit.
        told: what else a reader has to know, a line each.
    """
    first = rows[0]
    header = ("sigma", "canary", "estimator", "epsilon >=", "estimate", "bound <=", "n0 + n1")
    lines = []
    for row in rows:
        if row.estimator.startswith(CEILING) or not (row.n0 or row.estimator == EXACT):
            continue
        ceiling = find([r for r in rows if same(r.sigma, row.sigma)], row.canary, most_of(row))
        exact = row.estimator == EXACT
        lines.append(
            (
                "" if math.isnan(row.sigma) else f"{row.sigma:g}",
                row.canary,
                row.estimator + " *" * row.headline + " ?" * (row.valid is False),
                "" if exact else shown(row.low),
                shown(row.value),
                "" if ceiling is None else shown(ceiling.value),
                "" if exact else f"{row.n0} + {row.n1}",
            )
        )
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    text = [
        "  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in (header, *lines)
    ]
    rule = "-" * max(map(len, text))
    releases = f"{first.rounds} release{'s' if first.rounds > 1 else ''}"
    about = f" ({first.values})" if first.values else ""
    title = (
        f"audit of {first.secret}{about}, k = {first.k}, background {first.background}, {releases},"
        f" defense {first.defense}, delta = {first.delta:g}"
    )
    legend = (
        "*: the figure to quote, chosen before any trial; ?: under assumptions (column note); each"
        " epsilon >= holds by itself at the confidence of the audit; bound <=: the most that it"
        " could say of so many trials; exact: what this pair has under the declared noise"
    )
    return "\n".join([title, rule, *(line.rstrip() for line in text), rule, legend, *told])


def find(rows: Sequence[EpsilonRow], canary: str, estimator: str) -> EpsilonRow | None:
    """The row of a canary and an estimator, where there is one."""
    return next((r for r in rows if (r.canary, r.estimator) == (canary, estimator)), None)


def most_of(row: EpsilonRow) -> str:
    """The estimator of the row that tells the ceiling of another."""
    return f"{CEILING}_{row.estimator}"


def same(one: float, other: float) -> bool:
    """Whether two noises are one; NaN stands for none."""
    return one == other or (math.isnan(one) and math.isnan(other))


def shown(value: float) -> str:
    """An epsilon as a reader wants it; nothing where there is none.

    >>> shown(1.23456), shown(2e18), shown(math.nan)
    ('1.235', '2e+18', '')
    """
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if value < 1e4 or math.isinf(value) else f"{value:.4g}"
