"""The rows of attack.csv as guessers: the figures of each adversary and baseline in each place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from leakage.knowledge import ADAPTIVE, CEILING, EITHER, HEADLINE, INFORMATION, STATIC
from leakage.reading.figures import Figure
from leakage.reading.schema import Guesser
from leakage.report.rows import ALL, Row

SEEN = ALL
"""The name of all layers that adversaries see."""
AWARE = HEADLINE | {EITHER}
"""What the strongest adversary knows of M."""


def of_the_game(rows: Sequence[Row]) -> list[Row]:
    """Those at the k and others of the game itself, not of a further point of its curve."""
    first = rows[0]
    return [row for row in rows if (row.k, row.others) == (first.k, first.others)]


def guessers_of(rows: Iterable[Row]) -> list[Guesser]:
    """Who guessed from all layers on all trials, in the order of the rows.

    Args:
        rows: of one game at one k and others.
    """
    found: dict[tuple[int, str, str, str], dict[str, Row]] = {}
    for row in rows:
        if (row.layers, row.group) != (SEEN, ALL) or row.adversary in (INFORMATION, CEILING):
            continue
        knowledge = known(row)
        if knowledge is not None:
            place = (row.round, row.rounds, knowledge, row.adversary)
            found.setdefault(place, {})[row.metric] = row
    return [
        Guesser(
            *place,
            {metric: figure_of(row) for metric, row in figures.items()},
            _rival(place, figures, found),
            next(iter(figures.values())).n,
            next(iter(figures.values())).units,
        )
        for place, figures in found.items()
    ]


def known(row: Row) -> str | None:
    """What its adversary knows of M; None for the second of two rows that are one answer."""
    if row.defense != "none":
        return row.knowledge
    return {ADAPTIVE: None, STATIC: EITHER}.get(row.knowledge, row.knowledge)


def figure_of(row: Row) -> Figure:
    """The figure of a row, without numbers that it does not have."""
    return Figure(number(row.value), number(row.low), number(row.high), row.note)


def number(value: float) -> float | None:
    """None in place of NaN."""
    return None if math.isnan(value) else value


def whole(figure: Figure | None) -> tuple[float, float, float] | None:
    """Value, lower and upper limit; None where one of them is not there."""
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return None
    return figure.value, figure.low, figure.high


def strongest_of(guessers: Iterable[Guesser], knowledge: frozenset[str] = AWARE) -> Guesser | None:
    """Who got most: by gain, then by AUROC; of those who know as much of M."""
    some = [guesser for guesser in guessers if guesser.knowledge in knowledge]
    return max(some, key=_got, default=None)


def last_round(guessers: Sequence[Guesser]) -> list[Guesser]:
    """Those of the last round, alone and with the rounds before it."""
    last = max((guesser.round for guesser in guessers), default=0)
    return [guesser for guesser in guessers if guesser.round == last]


def strongest_in(guessers: Sequence[Guesser], rounds: str) -> Guesser | None:
    """Of those that know of M, in the last round: `alone`, or the `sum` of all up to it."""
    return strongest_of(g for g in last_round(guessers) if g.rounds == rounds)


def last_alone(guessers: Sequence[Guesser]) -> list[Guesser]:
    """Those of the last round alone, which is all that points of an aggregation curve have."""
    return [guesser for guesser in last_round(guessers) if guesser.rounds == "alone"]


def rival_of(guesser: Guesser, guessers: Iterable[Guesser]) -> Guesser | None:
    """The best baseline in the place of an adversary."""
    place = (guesser.round, guesser.rounds, "", guesser.rival)
    return next(
        (g for g in guessers if (g.round, g.rounds, g.knowledge, g.adversary) == place), None
    )


def value_of(guesser: Guesser, metric: str) -> float:
    """A figure; -inf where it is undefined or not there."""
    found = guesser.figures.get(metric)
    return -math.inf if found is None or found.value is None else found.value


def _got(guesser: Guesser) -> tuple[float, float]:
    return value_of(guesser, "gain"), value_of(guesser, "auroc")


def _rival(
    place: tuple[int, str, str, str],
    figures: Mapping[str, Row],
    found: Mapping[tuple[int, str, str, str], Mapping[str, Row]],
) -> str:
    """The baseline that the gain is over: the file does not name it, but the gain tells."""
    round_, rounds, knowledge, _ = place
    if not knowledge or "gain" not in figures or "auroc" not in figures:
        return ""
    level = figures["auroc"].value - figures["gain"].value
    for (other, summed, none, name), baseline in found.items():
        if (other, summed, none) != (round_, rounds, "") or "auroc" not in baseline:
            continue
        if abs(baseline["auroc"].value - level) < 1e-9:
            return name
    return ""
