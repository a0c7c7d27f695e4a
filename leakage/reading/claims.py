"""What is claimed of a whole report: gains above 0, corrected over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leakage.reading.figures import Figure
from leakage.reading.guessers import AWARE, SEEN, known, of_the_game, rival_of, whole
from leakage.reading.limits import LEVEL, Area, Gain
from leakage.reading.runs import Files
from leakage.reading.schema import Claim, Guesser
from leakage.report.rows import Row

_CLASS = "class "


@dataclass(frozen=True)
class Statement:
    """That an adversary that knows of M beats the best baseline, in one place of a run.

    Args:
        run: the name of the run.
        guesser: who, and where.
        gain: over the best baseline.
        p: two-sided, before the correction.
    """

    run: str
    guesser: Guesser
    gain: Gain
    p: float


@dataclass(frozen=True)
class Family:
    """All statements of a report, judged together at 5%.

    Args:
        statements: those with an interval, in the order of the runs.
        claims: one for each, in the same order.
        unclaimed: by run, why adversaries of it have no interval, so that nothing is claimed.
    """

    statements: list[Statement]
    claims: list[Claim]
    unclaimed: dict[str, list[str]]

    @property
    def alpha(self) -> float:
        """That of each limit, where all of them hold at once (Bonferroni)."""
        return (1 - LEVEL) / max(1, len(self.statements))

    def of(self, run: str) -> list[tuple[Statement, Claim]]:
        """The statements about a run, and what is claimed of them."""
        pairs = zip(self.statements, self.claims, strict=True)
        return [(statement, claim) for statement, claim in pairs if statement.run == run]

    def most(self, run: str) -> float | None:
        """What no listed adversary of a run exceeds, with all such limits of the report at once.

        None where one of them has no interval.
        """
        limits = [statement.gain.at(self.alpha)[1] for statement, _ in self.of(run)]
        return None if run in self.unclaimed else max(limits, default=None)


def family_of(runs: Sequence[Files]) -> Family:
    """The statements of all runs: of every round alone, and of all rounds together.

    Args:
        runs: as they were read; those without figures, and audits, say nothing here.
    """
    statements: list[Statement] = []
    unclaimed: dict[str, list[str]] = {}
    for files in runs:
        last = max((guesser.round for guesser in files.run.guessers), default=0)
        for guesser in files.run.guessers:
            if guesser.knowledge not in AWARE or (
                guesser.rounds != "alone" and guesser.round < last
            ):
                continue
            gain, why = _gain(guesser, files)
            if gain is None:
                reasons = unclaimed.setdefault(files.run.name, [])
                reasons.extend(reason for reason in [why] if reason not in reasons)
            else:
                statements.append(Statement(files.run.name, guesser, gain, gain.p))
    corrected = holm([statement.p for statement in statements])
    claims = [
        Claim(
            statement.run,
            statement.guesser.adversary,
            statement.guesser.knowledge,
            f"gain over {statement.guesser.rival} above 0, {statement.guesser.when}",
            statement.p,
            p,
            p < 1 - LEVEL,
            statement.guesser.when,
            statement.guesser.figures["gain"],
            statement.guesser.figures["auroc"],
        )
        for statement, p in zip(statements, corrected, strict=True)
    ]
    return Family(statements, claims, unclaimed)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given.

    >>> [round(corrected, 9) for corrected in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected, least = [1.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = least
    return corrected


def _gain(guesser: Guesser, files: Files) -> tuple[Gain | None, str]:
    """The gain of an adversary, or why nothing can be claimed of it."""
    rival = rival_of(guesser, files.run.guessers)
    areas = (guesser.figures.get("auroc"), rival.figures.get("auroc") if rival else None)
    gain, own, other = (whole(figure) for figure in (guesser.figures.get("gain"), *areas))
    if gain is None or own is None or other is None:
        told = [guesser.figures.get(name, Figure(None)).note for name in ("gain", "auroc")]
        return None, next(filter(None, told), "no interval")
    return Gain(Area(*own), Area(*other), *gain[1:], _freedom(guesser, files.rows)), ""


def _freedom(guesser: Guesser, rows: Sequence[Row]) -> int:
    """Degrees of freedom of the intervals, at the most those that they were built with.

    They are the smallest pool of units, or number of trials of a value, less one; the file tells
    how many distinct units those trials drew. Where each value is a user, users are the sample.
    """
    place = (guesser.round, guesser.rounds, guesser.knowledge, guesser.adversary)
    drawn = [
        (row.units, row.n)
        for row in of_the_game(rows)
        if row.group.startswith(_CLASS)
        and row.layers == SEEN
        and (row.round, row.rounds, known(row), row.adversary) == place
    ]
    if all(units == 1 for units, _ in drawn):
        return max(1, guesser.units - 1)
    return max(1, min(map(min, drawn)) - 1)
