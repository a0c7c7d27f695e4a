"""What an audit found, in words: what to quote of each noise, and what M does not keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from leakage.audit.names import EXACT, PAIR, THEORY
from leakage.report.epsilons import EpsilonRow, find, most_of, same, shown

_SLACK = 1 + 1e-3  # times what theory says: for rounding and for what PLD adds


def verdict(rows: Sequence[EpsilonRow], of_record: bool) -> list[str]:
    """What an audit found, in words: of each noise what to quote, and what is wrong.

    Args:
        rows: of an audit.
        of_record: whether the neighbours differ by a record that is replaced.
    """
    said = []
    claim = THEORY["replace_one" if of_record else "add_or_remove"]
    for sigma in {str(row.sigma): row.sigma for row in rows}.values():
        mine = [row for row in rows if same(row.sigma, sigma)]
        noise = "" if math.isnan(sigma) else f"sigma = {sigma:g}: "
        quoted = next((row for row in mine if row.headline), None)
        said.append(noise + _quoted(quoted, mine, claim))
        said += broken(mine, claim, noise)
    return said


def _quoted(quoted: EpsilonRow | None, rows: Sequence[EpsilonRow], claim: str) -> str:
    if quoted is None:
        return "no bound was asked for that is valid without assumptions, so no epsilon is claimed"
    if quoted.estimator == PAIR:
        known = "infinite" if quoted.value else "0 for this pair"
        return f"epsilon is {known} ({quoted.canary}): {quoted.note}"
    proven = find(rows, "", claim)
    beside = []
    if proven is not None and quoted.delta:
        beside.append(f"DP proves at most {shown(proven.value)}")
    elif proven is not None:
        beside.append("Gaussian noise proves none at delta = 0")
    if proven is None:
        beside.append("M claims no epsilon that it could contradict")
    for words, found in (
        ("this pair has", find(rows, quoted.canary, EXACT)),
        ("so many trials could show at most", find(rows, quoted.canary, most_of(quoted))),
    ):
        if found is not None:
            beside.append(f"{words} {shown(found.value)}")
    surely = f"{percent(quoted.confidence)} confidence, {quoted.canary}, {quoted.estimator}"
    return (
        f"epsilon of {_game(quoted)} is at least {quoted.low:.3f} at delta = {quoted.delta:g}"
        f" ({surely}); {', '.join(beside)}"
    )


def _game(row: EpsilonRow) -> str:
    """What the epsilon is of: whoever sees the releases knows which batches they are of."""
    releases = f"{row.rounds} release{'s' if row.rounds > 1 else ''}"
    taken = "" if row.q == 1 else f" that each take it with a chance of {row.q:g}"
    change = f"one record ({row.values})" if row.values else "one record more or less"
    return f"{change} in {releases}{taken}"


def broken(rows: Sequence[EpsilonRow], claim: str, noise: str) -> list[str]:
    """What shows that M does not keep what it claims, in words.

    What was seen before any trial; a pair whose sums lie too far apart before any noise; and bounds
    above what theory allows, by those that hold jointly, so that an M that keeps its word is blamed
    with at most gamma.

    Args:
        rows: of one noise.
        claim: which theory.
        noise: it, in words.
    """
    said = [
        f"{noise}THE NOISE IS NOT THE DECLARED ONE: {finding}"
        for finding in dict.fromkeys(row.finding for row in rows if row.finding)
    ]
    pairs = {row.canary: row for row in rows if row.estimator == EXACT}
    bounds = [row for row in rows if row.canary in pairs and not math.isnan(row.low_jointly)]
    over = [row for row in bounds if row.low_jointly > pairs[row.canary].value * _SLACK]
    if over:
        worst = max(over, key=lambda row: row.low_jointly)
        said.append(
            f"{noise}THE NOISE IS NOT THE DECLARED ONE: {_shows(worst)}, above the"
            f" {shown(pairs[worst.canary].value)} that this pair can have under {worst.defense}"
        )
    proven = find(rows, "", claim)
    if proven is None:
        return said
    most = proven.value * _SLACK
    if far := [row for row in pairs.values() if row.value > most]:
        worst = max(far, key=lambda row: row.value)
        said.append(
            f"{noise}THE GUARANTEE IS NOT KEPT: the sums of the pair {worst.canary} lie so far"
            f" apart that its epsilon is {shown(worst.value)}, above the {shown(proven.value)} that"
            f" DP would prove, so {worst.defense} does not bound what a record adds"
        )
    if over := [row for row in rows if row.low_jointly > most]:
        worst = max(over, key=lambda row: row.low_jointly)
        said.append(
            f"{noise}THE GUARANTEE IS NOT KEPT: {_shows(worst)}, above the {shown(proven.value)}"
            f" that DP would prove, so the implementation of {worst.defense} is wrong"
        )
    elif any(row.headline and row.estimator != PAIR and row.low > most for row in rows):
        said.append(
            f"{noise}the quoted bound is above what DP proves, but not with all bounds of the audit"
            " at once: play more trials, or ask for one canary and one estimator"
        )
    return said


def _shows(row: EpsilonRow) -> str:
    return (
        f"{row.canary} by {row.estimator} shows epsilon of at least {row.low_jointly:.3f} (all"
        " bounds of the audit at once)"
    )


def percent(share: float) -> str:
    """A confidence as a percentage.

    >>> percent(0.95), percent(0.999)
    ('95%', '99.9%')
    """
    return f"{100 * share:.6g}%"
